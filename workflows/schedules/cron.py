"""The calendar of a cron expression: wall-clock times by croniter, moments by the time zone. The only home of croniter.

Two Sundays of a year are odd. In the hour that does not exist, and in the one that happens twice, a job that runs *at*
a time (no star in its minute and hour) runs once: right after the gap, and in the first of the two hours. A job that
runs *every so often* (a star there) goes on in even steps: not within the gap, and in both hours. So it is in Debian.
"""

import copy
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

AND = "&"  # before the days of the week: they and the days of the month have both to be right
LONGEST = 200  # characters of an expression
_VALUE = r"(?:\d{1,2}|[a-z]{3})"
_ITEM = rf"(?:\*|l\d?|{_VALUE}(?:-{_VALUE})?)(?:/\d{{1,2}})?(?:#[1-5])?"
_FIELD = re.compile(rf"{_ITEM}(?:,{_ITEM})*", re.IGNORECASE)
_SECOND = timedelta(seconds=1)

Walls = Iterator[datetime]


def is_valid(expression: str) -> bool:
    """Whether these are five cron fields, or six with seconds before them. What is hostile is refused unread."""
    fields = expression.split() if len(expression) <= LONGEST else []
    if fields and fields[-1].startswith(AND):
        fields[-1] = fields[-1].removeprefix(AND)
    if len(fields) not in (5, 6) or not all(_FIELD.fullmatch(field) for field in fields):
        return False
    return croniter.is_valid(" ".join(fields), second_at_beginning=True)


def after(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """The moments after this one, in UTC, first things first. They end where no such day comes any more."""
    local = moment.astimezone(zone)
    walls = _walls(expression, _wall(local) - _repeated(local), "get_next")
    found = _once(walls, zone) if _is_at_a_time(expression) else _each_forwards(walls, zone)
    return (each for each in found if each > moment)


def until(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """The moments up to and including this one, in UTC, the latest first."""
    local = moment.astimezone(zone)
    beyond = _wall(local).replace(microsecond=0) + _repeated(local) + _SECOND
    walls = _walls(expression, beyond, "get_prev")
    found = _once(walls, zone) if _is_at_a_time(expression) else _each_backwards(walls, zone)
    return (each for each in found if each <= moment)


def _is_at_a_time(expression: str) -> bool:
    minute, hour = expression.split()[-5:-3]
    return not minute.startswith("*") and not hour.startswith("*")


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> croniter:
    plain, is_and = expression.replace(AND, ""), AND in expression
    epoch = datetime(2000, 1, 1)  # noqa: DTZ001  (naive, as all that a clock on the wall shows)
    return croniter(plain, epoch, second_at_beginning=True, day_or=not is_and)


def _walls(expression: str, start: datetime, step: str) -> Walls:
    """What a clock on the wall shows at its times, from there on."""
    times = copy.copy(_parsed(expression))  # parsing takes ten times as long as a step
    times.set_current(start, force=True)
    go: Callable[[type[datetime]], datetime] = getattr(times, step)
    try:
        while True:
            yield go(datetime)
    except (CroniterError, OverflowError, ValueError):
        return  # no such day any more, e.g. 30 February


def _once(walls: Iterable[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    latest = None
    for wall in walls:
        first, second = _moments(wall, zone)
        moment = first if first <= second else _end_of_gap(second, first, zone)
        if moment != latest:
            yield moment
        latest = moment


def _each_forwards(walls: Iterable[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    again: deque[datetime] = deque()  # what the wall shows a second time comes after all that it shows first
    for wall in walls:
        first, second = _moments(wall, zone)
        while again and again[0] <= first:
            yield again.popleft()
        if first <= second:
            yield first
        if first < second:
            again.append(second)
    yield from again


def _each_backwards(walls: Iterable[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    before: deque[datetime] = deque()
    for wall in walls:
        first, second = _moments(wall, zone)
        while before and before[0] >= second:
            yield before.popleft()
        if first <= second:
            yield second
        if first < second:
            before.append(first)
    yield from before


def _moments(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When the wall shows this: twice the same moment, two moments, or, where it never does, the later one first."""
    local = wall.replace(tzinfo=zone)
    return local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the clock was put forward, between these two."""
    old = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def _repeated(local: datetime) -> timedelta:
    """How much of the wall clock's time happens twice around this moment: an hour, or nothing."""
    first, second = _moments(_wall(local), local.tzinfo)  # type: ignore[arg-type]
    return max(second - first, timedelta(0))


def _wall(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)
