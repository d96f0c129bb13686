"""`celeriac user`."""

import sys

import click

from ...api.access import passwords
from ...api.access.scopes import OPERATOR, ROLES
from ...workflows.errors import UsageError


@click.command("user")
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), default=OPERATOR, show_default=True)
@click.option("--stdin", is_flag=True, help="Read the password from standard input instead of asking for it.")
def command(name: str, role: str, stdin: bool) -> None:
    """Print the entry of a user for CELERIAC_USERS, with a hash of the password in it. Nothing is stored, and no app is
    needed."""
    if stdin:
        password = sys.stdin.read().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        click.echo(passwords.line(name, role, password))
    except UsageError as error:
        raise click.UsageError(str(error)) from error
