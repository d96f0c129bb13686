"""`celeriac worker`."""

import click

from ...workflows import Celeriac
from . import command as make


@make(
    click.option("--concurrency", "-c", default=None, type=int, help="Runs executed at once. [default: CPUs]"),
    click.option("--pool", "-P", default="prefork", show_default=True),
    click.option("--loglevel", "-l", default="INFO", show_default=True),
    click.argument("celery_arguments", nargs=-1, type=click.UNPROCESSED),
    name="worker",
)
def command(
    durable: Celeriac, concurrency: int | None, pool: str, loglevel: str, celery_arguments: tuple[str, ...]
) -> None:
    """A Celery worker with fitting options; arguments after -- go to `celery worker`."""
    if {"--detach", "-D"} & set(celery_arguments):
        raise click.UsageError(
            "Celery starts a detached worker by its own command: "
            "`celery -A ... worker --detach --prefetch-multiplier 1 --without-mingle`."
        )
    argv = ["worker", "--pool", pool, "--loglevel", loglevel, "--prefetch-multiplier", "1", "--without-mingle"]
    if concurrency is not None:
        argv += ["--concurrency", str(concurrency)]
    durable.settings.need("database_url")
    durable.app.worker_main([*argv, *celery_arguments])
