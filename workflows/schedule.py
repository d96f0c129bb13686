"""When a workflow starts by itself: `Cron` and `Every`. The only home of croniter."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from .errors import UsageError

CATCH_UP = ("skip", "one", "all")
LONGEST_SECONDS = 10 * 366 * 86_400.0
MISSED_AFTER = timedelta(minutes=1)  # `skip` starts a tick that is late by less
NEVER = datetime.max.replace(tzinfo=UTC)
CATCH_UP_LIMIT = 1000  # missed ticks that `all` makes up for, the newest ones


@dataclass(frozen=True, slots=True)
class Cron:
    """`Cron("*/5 * * * *", timezone="Europe/Berlin")`: five cron fields, in an IANA time zone (default UTC).

    - catch_up: what becomes of ticks that were missed while no beat ran: "one" (default) starts the newest of them,
      "skip" none that is more than a minute late, "all" every one (the newest 1000).

    Raises UsageError for an expression or a zone that does not exist.
    """

    expression: str
    timezone: str = "UTC"
    catch_up: str = "one"

    def __post_init__(self) -> None:
        _check_catch_up(self, self.catch_up)
        if len(self.expression) > 200 or len(self.expression.split()) != 5 or not croniter.is_valid(self.expression):
            raise UsageError(f"Cron({self.expression!r}): not five cron fields, as in '*/5 * * * *'")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise UsageError(
                f"Cron(timezone={self.timezone!r}): not an IANA time zone, as in 'Europe/Berlin'"
            ) from None

    def after(self, moment: datetime, anchor: datetime) -> Iterator[datetime]:
        """The times after `moment`, in UTC. `anchor` is not needed: cron hangs on the calendar."""
        zone = ZoneInfo(self.timezone)
        times = croniter(self.expression, moment.astimezone(zone))
        try:
            while True:
                tick = times.get_next(datetime).astimezone(UTC)
                if not (self._is_at_fixed_times and tick.astimezone(zone).fold):
                    yield tick
        except CroniterError:
            return  # no such day any more, e.g. 30 February

    @property
    def _is_at_fixed_times(self) -> bool:
        # In the hour that happens twice, "every 30 minutes" goes on and "at 02:30" happens once, as in Debian's cron.
        minute, hour, *_ = self.expression.split()
        return not minute.startswith("*") and not hour.startswith("*")


@dataclass(frozen=True, slots=True)
class Every:
    """`Every(seconds=30)`: at fixed distances from the moment it was first declared, so it does not drift.

    `catch_up` as in Cron. Raises UsageError below one second.
    """

    seconds: float
    catch_up: str = "one"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _check_catch_up(self, self.catch_up)
        if not 1 <= self.seconds <= LONGEST_SECONDS:
            raise UsageError(f"Every(seconds={self.seconds:g}): give 1 second to 10 years")

    @property
    def expression(self) -> str:
        return f"{self.seconds:g}"

    def after(self, moment: datetime, anchor: datetime) -> Iterator[datetime]:
        """The times after `moment`: anchor + k * seconds."""
        passed = (moment - anchor).total_seconds() // self.seconds
        while True:
            passed += 1
            yield anchor + timedelta(seconds=passed * self.seconds)


Schedule = Cron | Every


def due_ticks(
    schedule: Schedule, anchor: datetime, next_due: datetime, now: datetime
) -> tuple[list[datetime], datetime]:
    """Which ticks to start at `now`, by the catch-up policy, and when the next one is due after them.

    `next_due` is the oldest tick that was not looked at yet.
    """
    ticks = deque([next_due], maxlen=CATCH_UP_LIMIT if schedule.catch_up == "all" else 1)
    following = NEVER
    for tick in schedule.after(next_due, anchor):
        if tick > now:
            following = tick
            break
        ticks.append(tick)
    if schedule.catch_up == "skip":
        return [tick for tick in ticks if now - tick <= MISSED_AFTER], following
    return list(ticks), following


def first_due(schedule: Schedule, now: datetime) -> datetime | None:
    """The first tick after `now` of a schedule that is new at `now`. None: it never fires."""
    return next(islice(schedule.after(now, now), 1), None)


def _check_catch_up(schedule: object, catch_up: str) -> None:
    if catch_up not in CATCH_UP:
        raise UsageError(f"{type(schedule).__name__}(catch_up={catch_up!r}): choose one of {', '.join(CATCH_UP)}")
