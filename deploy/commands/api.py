"""`celeriac api`."""

import click

from ...api.access.logins import NONE, mode_of
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ..server import ApiServer
from . import command as make
from . import log_to_terminal


@make(
    click.option("--host", default="127.0.0.1", show_default=True),
    click.option("--port", default=8484, show_default=True),
    click.option("--workers", default=2, show_default=True, help="Processes."),
    name="api",
)
def command(durable: Celeriac, host: str, port: int, workers: int) -> None:
    """The HTTP API, the webhook inbox and the monitoring page, under gunicorn."""
    if host not in ("127.0.0.1", "localhost", "::1") and mode_of(durable.settings) == NONE:
        raise UsageError(
            f"--host {host} without a login would let anyone in: set CELERIAC_LOGIN, or CELERIAC_API_KEY, first"
        )
    durable.settings.need("database_url")
    log_to_terminal("INFO")
    ApiServer(durable, f"{host}:{port}", workers, durable.settings.api_threads).run()
