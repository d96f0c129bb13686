"""`celeriac beat`."""

import signal

import click

from ...beat import Beat
from ...workflows import Celeriac
from . import command as make
from . import log_to_terminal


@make(click.option("--loglevel", "-l", default="INFO", show_default=True), name="beat")
def command(durable: Celeriac, loglevel: str) -> None:
    """Schedules, timers, lost workers, lost messages. Run two: the second is a hot spare."""
    log_to_terminal(loglevel)
    running = Beat(durable)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    running.run()
