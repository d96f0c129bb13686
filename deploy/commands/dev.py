"""`celeriac dev`."""

from pathlib import Path

import click

from ...workflows import Celeriac
from ..dev import Dev
from . import command as make


@make(
    click.option("--port", default=8484, show_default=True, help="Port of the page and the API."),
    click.option("--concurrency", default=2, show_default=True, help="Runs that the worker executes at once."),
    click.option("--pool", default="prefork", show_default=True, help="Celery's pool: prefork, threads, solo."),
    click.option("--data-dir", default=".celeriac", show_default=True, help="Where the embedded servers keep data."),
    name="dev",
)
def command(durable: Celeriac, port: int, concurrency: int, pool: str, data_dir: str) -> None:
    """Everything in one terminal: servers where no URL is set, migrations, worker, beat, API and page."""
    name = click.get_current_context().obj["app_name"]
    Dev(durable, name, port=port, concurrency=concurrency, pool=pool, data_dir=Path(data_dir)).run()
