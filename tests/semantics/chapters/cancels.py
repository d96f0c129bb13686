"""Runs that are cancelled, wherever they stand."""

from celeriac import Queue, receive, sleep, workflow

from .journal import do, held


@workflow(name="cancels.running")
def running() -> str:
    held("one")
    held("two")
    return "done"


@workflow(name="cancels.last-step")
def last_step() -> str:
    return held("last")


@workflow(name="cancels.waiting")
def waiting() -> None:
    receive()


@workflow(name="cancels.sleeping")
def sleeping() -> None:
    sleep(3600)


@workflow(name="cancels.queued", queue=Queue("cancels-one", concurrency=1))
def queued() -> str:
    return held("one")


@workflow(name="cancels.tidies")
def tidies() -> None:
    try:
        do("take")
        receive()
    finally:
        do("release")
