"""`celery -A shop beat -S celeriac.beat:Scheduler`: the `beat_schedule` of a shop as durable schedules.

This is Celery's side of it: what `celery beat` calls, and how its entries are read. Beat itself comes from
`celeriac.beat`, which may not import Celery.
"""

import logging
import re
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

from celery import Celery, beat
from celery.schedules import crontab, maybe_schedule
from celery.schedules import schedule as Interval

from ...state import schedules
from ...state.schedules import BEAT_SCHEDULE, TASK, NewSchedule
from .. import registry
from ..application import Celeriac
from ..errors import CeleriacError, UsageError
from ..options import Options
from ..trigger import Source
from . import cron
from .row import Said, new_row
from .schedule import Cron, Every, Schedule, zone_of

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0  # after which `celery beat` looks whether beat still runs
STOP_SECONDS = 10.0  # that its end waits for passes under way
CLEANUP = "celery.backend_cleanup"  # Celery's own entry, for result backends that do not expire by themselves
UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))  # of a relative interval
MONDAY = datetime(2001, 1, 1)  # noqa: DTZ001  (its zone is the app's) from where relative intervals count
STEP = re.compile(r"\*/\d{1,2}")
ENTRY = ("task", "schedule", "args", "kwargs", "options", "relative", "enabled")


class Runs(Protocol):
    """What `celeriac.beat.Beat` is."""

    def run(self) -> None: ...
    def stop(self) -> None: ...


class TakeOver(beat.Scheduler):
    """Takes the entries over when it starts, and keeps beat running for as long as `celery beat` does.

    Raises UsageError for an entry that cannot be taken over: it would be missed without a word otherwise.
    """

    def make_beat(self, durable: Celeriac) -> Runs:
        raise NotImplementedError

    def setup_schedule(self) -> None:
        durable = registry.of_app(self.app)
        declare(durable, entries(self.app))
        self._beat = self.make_beat(durable)
        self._thread = threading.Thread(target=self._beat.run, name="celeriac-beat", daemon=True)
        self._thread.start()

    def tick(self, *_: Any, **__: Any) -> float:
        if not self._thread.is_alive():
            raise RuntimeError("beat has ended by a fault of its own: its log says which")
        return TICK_SECONDS

    def close(self) -> None:
        """Called twice at the end."""
        self._beat.stop()
        self._thread.join(STOP_SECONDS)
        super().close()

    @property
    def info(self) -> str:
        return "    . schedules -> Postgres"


def entries(app: Celery) -> dict[str, Mapping[str, Any]]:
    """The `beat_schedule` of an app, with the entry that `celery beat` adds by itself."""
    found: dict[str, Mapping[str, Any]] = dict(app.conf.beat_schedule or {})
    if app.conf.result_expires and not app.backend.supports_autoexpire:
        found.setdefault(
            CLEANUP, {"task": CLEANUP, "schedule": crontab("0", "4", "*"), "options": {"expires": 12 * 3600}}
        )
    return found


def declare(durable: Celeriac, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Makes these entries the schedules that come from `beat_schedule`; those that are there no more are removed."""
    durable.tasks()  # which of them are durable is known once the app has collected them
    durable.register()
    now = durable.database.now()
    rows = [_row(durable, name, entry, now) for name, entry in found.items() if entry.get("enabled", True)]
    schedules.declare(durable.database, rows, BEAT_SCHEDULE, None)
    log.info("%d entries of beat_schedule are durable schedules", len(rows))


def schedule_of(name: str, given: Any, app: Celery, is_relative: bool = False) -> Schedule:
    """The schedule of an entry: crontab, timedelta, or seconds. Raises UsageError for others, such as solar."""
    found: Any = maybe_schedule(given, is_relative, app=app)
    deadline = app.conf.beat_cron_starting_deadline
    if isinstance(found, crontab):
        window = max(1.0, float(deadline)) if deadline else None
        return Cron(expression_of(found), timezone=_zone(app), catch_up_window=window)
    kind: type = type(found)
    if kind is Interval:
        return by_the_clock(found.run_every, _zone(app)) if found.relative else Every(found.run_every.total_seconds())
    raise UsageError(
        f"beat_schedule[{name!r}] is {kind.__name__}: only crontab, timedelta and seconds can be taken over. "
        "Write it as one of these, or leave it out and start it from elsewhere (a sunrise by a workflow that sleeps "
        "until it)."
    )


def by_the_clock(every: timedelta, timezone: str) -> Schedule:
    """An interval of an entry that is `relative`: whole days, hours, minutes or seconds, each begun by the clock of the
    app's time zone, as in Celery, where 90 minutes are rounded down to an hour."""
    unit = next(unit for unit in UNITS if every >= unit or unit == UNITS[-1])
    if every // unit == 1 and unit == timedelta(days=1):
        return Cron("0 0 * * *", timezone=timezone)
    first = MONDAY.replace(tzinfo=zone_of(timezone))
    return Every((every // unit * unit).total_seconds(), start=first)


def expression_of(found: Any) -> str:
    """A crontab as cron fields. Days of the month and of the week have both to be right, as in Celery."""
    fields = [
        _field(found._orig_minute, found.minute, 0, 59),
        _field(found._orig_hour, found.hour, 0, 23),
        _field(found._orig_day_of_month, found.day_of_month, 1, 31),
        _field(found._orig_month_of_year, found.month_of_year, 1, 12),
        _field(found._orig_day_of_week, found.day_of_week, 0, 6),
    ]
    if "*" not in (fields[2], fields[4]):
        fields[4] = cron.AND + fields[4]
    return " ".join(fields)


def _field(said: Any, values: set[int], least: int, most: int) -> str:
    if values == set(range(least, most + 1)):
        return "*"
    if isinstance(said, str) and STEP.fullmatch(said):
        return said  # a star says "every so often": it matters on the two odd Sundays
    ordered = sorted(values)
    starts = [ordered[0], *(after for before, after in pairwise(ordered) if after != before + 1)]
    ends = [*(before for before, after in pairwise(ordered) if after != before + 1), ordered[-1]]
    spans = zip(starts, ends, strict=True)
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _row(durable: Celeriac, name: str, entry: Mapping[str, Any], now: Any) -> NewSchedule:
    try:
        for member in entry:
            if member not in ENTRY:
                raise UsageError(f"{member!r} is no member of an entry: known are {', '.join(ENTRY)}")
        schedule = schedule_of(name, entry["schedule"], durable.app, bool(entry.get("relative")))
        return new_row(name, BEAT_SCHEDULE, schedule, _said(durable, entry), now, None)
    except (CeleriacError, KeyError) as error:
        if str(error).startswith("beat_schedule["):
            raise
        raise UsageError(f"beat_schedule[{name!r}]: {error}") from error


def _said(durable: Celeriac, entry: Mapping[str, Any]) -> Said:
    name, args, kwargs = entry["task"], tuple(entry.get("args") or ()), dict(entry.get("kwargs") or {})
    options = {option: _seconds(value) for option, value in (entry.get("options") or {}).items()}
    workflow = registry.workflows().get(name)
    # A durable task with options of a message (a queue, a priority) is sent as one, and becomes a run at its worker.
    if workflow is None or (workflow.is_task and not options.keys() <= {"expires", "countdown"}):
        return Said(workflow=name, starts=TASK, payload={"args": list(args), "kwargs": kwargs}, options=options)
    payload = workflow.payload(args, kwargs)
    durable.prepare(workflow, payload, Options.of(options), Source("schedule"))  # refused now, not at each tick
    return Said(workflow=name, payload=payload, options=options)


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _zone(app: Celery) -> str:
    """The IANA name of the app's time zone."""
    return getattr(app.timezone, "key", None) or str(app.timezone)
