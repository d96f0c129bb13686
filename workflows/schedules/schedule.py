"""When something starts by itself: `Cron` and `Every`, and what they say of ticks that are missed or overlap."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import UsageError
from . import cron

CATCH_UP = ("skip", "one", "all")
OVERLAP = ("allow", "skip", "queue_one", "cancel_running")
CATCH_UP_LIMIT = 1000  # missed ticks that `all` makes up for, the newest ones
LONGEST_SECONDS = 10 * 366 * 86_400.0
LONGEST_JITTER_SECONDS = 86_400.0
MISSED_AFTER = timedelta(minutes=1)  # `skip` starts a tick that is late by less
NEVER = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What every schedule can say, besides when it is due.

    - catch_up: what becomes of ticks that were missed while no beat ran: "one" (default) starts the newest of them,
      "skip" none that is more than a minute late, "all" every one.
    - catch_up_limit: how many "all" makes up for, the newest ones. Default 1000.
    - catch_up_window: seconds; what is later than that is not made up for. Default: no bound.
    - overlap: what a tick does while a run of the schedule has not ended: "allow" (default) starts another, "skip"
      leaves the tick out, "queue_one" lets one tick wait for the end, "cancel_running" cancels what runs.
    - jitter: seconds over which schedules of one time are spread; each is always late by the same part of it.
    - start, end: aware moments; there is no tick before the one and after the other.
    """

    catch_up: str = "one"
    catch_up_limit: int = CATCH_UP_LIMIT
    catch_up_window: float | None = None
    overlap: str = "allow"
    jitter: float = 0
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cron(Policies):
    """`Cron("*/5 * * * *", timezone="Europe/Berlin")`: five cron fields, or six with seconds before them, in an IANA
    time zone (default UTC). Days of the month *or* of the week are right, as in every cron; `"0 8 1-7 * &mon"` takes
    both: the first Monday. The policies, by name, are those of `Policies`.

    Raises UsageError for an expression or a zone that does not exist, and for policies that cannot be.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _check_policies(self)
        if not isinstance(self.expression, str) or not cron.is_valid(self.expression):
            told = repr(self.expression)[:100]
            raise UsageError(
                f"Cron({told}): not five cron fields, as in '*/5 * * * *', nor six with seconds before them"
            )
        zone_of(self.timezone)

    def after(self, moment: datetime, anchor: datetime) -> Iterator[datetime]:
        """The times after `moment`, in UTC. `anchor` is not needed: cron hangs on the calendar."""
        return cron.after(self.expression, ZoneInfo(self.timezone), moment)

    def until(self, moment: datetime, anchor: datetime) -> Iterator[datetime]:
        """The times up to `moment`, the latest first."""
        return cron.until(self.expression, ZoneInfo(self.timezone), moment)


@dataclass(frozen=True, slots=True)
class Every(Policies):
    """`Every(seconds=30)`: at fixed distances from the moment it was first declared (or its start), so that it does
    not drift. The policies, by name, are those of `Policies`.

    Raises UsageError below one second, and for policies that cannot be.
    """

    seconds: float
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _check_policies(self)
        if not _is_number(self.seconds) or not 1 <= self.seconds <= LONGEST_SECONDS:
            raise UsageError(f"Every(seconds={self.seconds!r}): give 1 second to 10 years")
        zone_of(self.timezone)

    @property
    def expression(self) -> str:
        return f"{self.seconds:.15g}"

    def after(self, moment: datetime, anchor: datetime) -> Iterator[datetime]:
        """The times after `moment`: anchor + k * seconds."""
        passed = (moment - anchor).total_seconds() // self.seconds
        while True:
            passed += 1
            yield anchor + timedelta(seconds=passed * self.seconds)

    def until(self, moment: datetime, anchor: datetime) -> Iterator[datetime]:
        """The times up to `moment`, the latest first."""
        passed = (moment - anchor).total_seconds() // self.seconds + 1
        while True:
            passed -= 1
            tick = anchor + timedelta(seconds=passed * self.seconds)
            if tick <= moment:  # the quotient may be one too many, by rounding
                yield tick


Schedule = Cron | Every


def due_ticks(
    schedule: Schedule, anchor: datetime, next_due: datetime, now: datetime, most: int = CATCH_UP_LIMIT
) -> tuple[list[datetime], datetime]:
    """Which ticks to start at `now`, by the catch-up policy, and when the next one is due after them.

    `next_due` is the oldest tick that was not looked at yet. At most `most` come at once, the oldest of them; then the
    next one may be due by now as well.
    """
    following = first_due(schedule, next_due, anchor) or NEVER
    if following > now:  # on time, as nearly always
        return [] if _is_too_late(schedule, next_due, now) else [next_due], following
    missed = takewhile(lambda tick: tick >= next_due, schedule.until(now, anchor))
    newest = islice(missed, schedule.catch_up_limit if schedule.catch_up == "all" else 1)
    ticks = [tick for tick in newest if not _is_too_late(schedule, tick, now)][::-1]
    if len(ticks) > most:
        return ticks[:most], ticks[most]
    return ticks, first_due(schedule, now, anchor) or NEVER


def first_due(schedule: Schedule, now: datetime, anchor: datetime | None = None) -> datetime | None:
    """The first tick after `now`. None: there is none. Without an anchor the schedule is new."""
    return next(upcoming(schedule, now, anchor), None)


def upcoming(schedule: Schedule, now: datetime, anchor: datetime | None = None) -> Iterator[datetime]:
    """The ticks after `now`, from its start to its end."""
    moment = now if schedule.start is None else max(now, schedule.start - timedelta(microseconds=1))
    ticks = schedule.after(moment, anchor or anchor_of(schedule, now))
    return takewhile(lambda tick: tick < NEVER and (schedule.end is None or tick <= schedule.end), _safe(ticks))


def between(schedule: Schedule, anchor: datetime, start: datetime, end: datetime) -> Iterator[datetime]:
    """The ticks from `start` to `end`, both included."""
    return takewhile(lambda tick: tick <= end, upcoming(schedule, start - timedelta(microseconds=1), anchor))


def anchor_of(schedule: Schedule, now: datetime) -> datetime:
    """From where a schedule that is new counts."""
    return schedule.start or now


def offset_seconds(schedule: Schedule, key: str) -> float:
    """How late this schedule is by its jitter: always the same, and spread evenly over many keys."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    return round(share * schedule.jitter, 3)


def zone_of(timezone: str) -> ZoneInfo:
    """Raises UsageError for a zone that does not exist."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise UsageError(f"timezone={timezone!r}: not an IANA time zone, as in 'Europe/Berlin'") from None


def _is_too_late(schedule: Schedule, tick: datetime, now: datetime) -> bool:
    late = now - tick
    if schedule.catch_up_window is not None and late.total_seconds() > schedule.catch_up_window:
        return True
    return schedule.catch_up == "skip" and late > MISSED_AFTER


def _safe(ticks: Iterable[datetime]) -> Iterator[datetime]:
    try:
        yield from ticks
    except OverflowError:
        return  # where datetime ends


def _check_policies(schedule: Policies) -> None:
    name = type(schedule).__name__
    for option, known in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
        if getattr(schedule, option) not in known:
            raise UsageError(f"{name}({option}={getattr(schedule, option)!r}): choose one of {', '.join(known)}")
    if not _is_number(schedule.jitter) or not 0 <= schedule.jitter <= LONGEST_JITTER_SECONDS:
        raise UsageError(f"{name}(jitter={schedule.jitter!r}): give 0 to {LONGEST_JITTER_SECONDS:g} seconds")
    limit, window = schedule.catch_up_limit, schedule.catch_up_window
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 100_000:
        raise UsageError(f"{name}(catch_up_limit={limit!r}): give a whole number from 1 to 100000")
    if window is not None and not (_is_number(window) and 1 <= window <= LONGEST_SECONDS):
        raise UsageError(f"{name}(catch_up_window={window!r}): give 1 second to 10 years")
    for option in ("start", "end"):
        _check_moment(name, option, getattr(schedule, option))
    if schedule.start is not None and schedule.end is not None and schedule.end < schedule.start:
        raise UsageError(f"{name}: it ends ({schedule.end.isoformat()}) before it starts")


def _check_moment(name: str, option: str, moment: datetime | None) -> None:
    if moment is None:
        return
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise UsageError(f"{name}({option}={moment!r}): give a datetime with a time zone")
    if not datetime(1970, 1, 1, tzinfo=UTC) <= moment < NEVER:
        raise UsageError(f"{name}({option}={moment.isoformat()}): give a moment from 1970 to the year {NEVER.year}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
