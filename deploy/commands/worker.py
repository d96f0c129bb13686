"""`celeriac worker`."""

import os
import sys

import click

from ...workflows import Celeriac
from ...workflows.engine.greenlets import is_patched
from ...workflows.worker.pool import refuse_unfit
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
    refuse_unfit(pool)
    argv = ["worker", "--pool", pool, "--loglevel", loglevel, "--prefetch-multiplier", "1", "--without-mingle"]
    if concurrency is not None:
        argv += ["--concurrency", str(concurrency)]
    durable.settings.need("database_url")
    if pool == "gevent" and not is_patched():
        _become_celery([*argv, *celery_arguments])
    durable.app.worker_main([*argv, *celery_arguments])


def _become_celery(argv: list[str]) -> None:
    """gevent has to come before everything else that is imported, and Celery's own command sees to that."""
    name = click.get_current_context().obj["app_name"] or os.environ["CELERY_APP"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", name, *argv])
