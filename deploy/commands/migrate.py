"""`celeriac migrate`."""

import click

from ...state.migrate import migrate
from ...workflows import Celeriac
from . import command as make


@make(name="migrate")
def command(durable: Celeriac) -> None:
    """Bring the tables up to date. Safe to run from several processes at once."""
    click.echo(f"the database is at revision {migrate(durable.database)}")
