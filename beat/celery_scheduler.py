"""The scheduler that `celery -A shop beat -S celeriac.beat:Scheduler` names."""

from ..workflows import Celeriac
from ..workflows.schedules.celery_beat import Runs, TakeOver
from .beat import Beat


class Scheduler(TakeOver):
    """A beat in the place of Celery's: its entries are durable, and a second one is a hot spare."""

    def make_beat(self, durable: Celeriac) -> Runs:
        return Beat(durable)
