"""The command line: `celeriac -A shop COMMAND`, and the same commands as `celery -A shop celeriac COMMAND`.

A command's module is imported when the command is asked for: a worker that is started again after a crash does not
wait for the web server's code. Exit codes: 0 done, 1 failed, 2 usage.
"""

from importlib import import_module
from typing import Any

import click

COMMANDS = (
    "alerts", "api", "beat", "bulk", "dev", "doctor", "events", "keys", "logs", "migrate", "queues", "runs",
    "schedules", "subscriptions", "tokens", "trigger", "user", "webhooks", "worker", "workers",
)  # fmt: skip


class Commands(click.Group):
    """Each command is `command` of the module of its name in `commands/`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = import_module(f".commands.{name}", __package__).command
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", "app_name", metavar="APP", help="Module of the Celery app, as for celery -A.")
@click.pass_context
def commands(context: click.Context, app_name: str | None) -> None:
    """Durable workflows for teams that already run Celery."""
    context.obj = {"app_name": app_name}


@click.group(name="celeriac", cls=Commands)
@click.pass_context
def celery_command(context: click.Context) -> None:
    """Durable workflows: see `celeriac --help`."""
    app: Any = context.obj.app
    context.obj = {"app_name": app.main, "app": app}


def main() -> None:
    """The `celeriac` command."""
    commands(prog_name="celeriac")
