"""Queues, crons and intervals: what is refused where it is written, and when ticks are due."""

import math
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from celeriac import Cron, Every, Queue
from celeriac.workflows.errors import UsageError
from celeriac.workflows.schedules.schedule import CATCH_UP_LIMIT, NEVER, due_ticks, first_due

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("name", ["", "a" * 201, "a:b", "{a}", "a}", "a\nb", "\0", "tab\t"])
def test_a_name_that_cannot_be_a_key_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a name is 1 to 200 printable characters"):
        Queue(name)


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_queue_without_a_slot_is_refused(concurrency: int) -> None:
    with pytest.raises(UsageError, match="it takes at least 1"):
        Queue("crm", concurrency=concurrency)


@pytest.mark.parametrize("name", ["crm", "a" * 200, "shop.tasks.sync", "größe", "with space", "a/b#c"])
def test_other_names_are_taken(name: str) -> None:
    assert (name, None) == (Queue(name).name, Queue(name).concurrency)
    assert Queue(name) == Queue(name)


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "@daily",
     "x * * * *", "*/0 * * * *", "0 0 1--100000000 * *", "R * * * *", "5-1-2 * * * *", "* " * 5 + "#" * 200],
)  # fmt: skip
def test_what_is_not_five_cron_fields_is_refused(expression: str) -> None:
    with pytest.raises(UsageError, match="not five cron fields"):
        Cron(expression)


@pytest.mark.parametrize("timezone", ["", "Europe/Atlantis", "../etc/passwd", "/etc/localtime", "UTC+25", "\0"])
def test_a_zone_that_does_not_exist_is_refused(timezone: str) -> None:
    with pytest.raises(UsageError, match="not an IANA time zone"):
        Cron("* * * * *", timezone=timezone)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, math.nan, math.inf, -math.inf])
def test_an_interval_that_cannot_be_kept_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError):
        Every(seconds=seconds)


@pytest.mark.parametrize("schedule", [lambda **more: Cron("* * * * *", **more), lambda **more: Every(30, **more)])
def test_an_unknown_catch_up_is_refused_with_those_that_are_known(schedule: Any) -> None:
    with pytest.raises(UsageError, match="choose one of skip, one, all"):
        schedule(catch_up="some")


@pytest.mark.parametrize(
    "expression",
    ["*/30 * * * *", "0 * * * *", "30 2 * * *", "0 3 * * *", "15 1-4 * * *", "0 0 1 * *", "0 9 * * 1-5", "0 12 * * 0",
     "*/20 */6 * * *", "0 0 29 2 *", "59 23 31 12 *", "0 8 1,15 * *", "0 0 13 * 5", "7 4 * 3,10 *"],
)  # fmt: skip
def test_a_cron_in_berlin_fires_as_the_reference_says_over_a_year_with_both_changes_of_the_clock(
    expression: str,
) -> None:
    begin, end = datetime(2027, 3, 1, tzinfo=UTC), datetime(2028, 3, 1, 12, tzinfo=UTC)
    reference = CronSim(expression, begin.astimezone(BERLIN))
    expected = []
    for tick in reference:
        if tick.astimezone(UTC) > end:
            break
        expected.append(tick.astimezone(UTC))
    ticks = []
    for tick in Cron(expression, timezone="Europe/Berlin").after(begin, begin):
        if tick > end:
            break
        ticks.append(tick)
    assert expected == ticks


def test_a_daily_cron_keeps_its_hour_over_the_changes_of_the_clock() -> None:
    ticks = islice(Cron("0 9 * * *", timezone="Europe/Berlin").after(datetime(2027, 3, 26, tzinfo=UTC), NOON), 250)
    assert {(9, 0)} == {(tick.astimezone(BERLIN).hour, tick.astimezone(BERLIN).minute) for tick in ticks}


def test_a_cron_of_every_minute_neither_skips_nor_repeats_one_when_the_clock_changes() -> None:
    for changed in (datetime(2027, 3, 28, 0, 30, tzinfo=UTC), datetime(2027, 10, 31, 0, 30, tzinfo=UTC)):
        ticks = list(islice(Cron("* * * * *", timezone="Europe/Berlin").after(changed, changed), 120))
        assert [changed + MINUTE * n for n in range(1, 121)] == ticks


def test_a_cron_of_a_day_that_never_comes_has_no_ticks() -> None:
    assert first_due(Cron("0 0 30 2 *"), NOON) is None


@given(
    st.floats(1, 1e7),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=365)),
)
def test_an_interval_does_not_drift(seconds: float, anchor: datetime, passed: timedelta) -> None:
    moment = anchor + passed
    ticks = list(islice(Every(seconds).after(moment, anchor), 5))
    tolerance = timedelta(milliseconds=1)
    assert moment - tolerance <= ticks[0] <= moment + timedelta(seconds=seconds) + tolerance
    for before, after in pairwise(ticks):
        assert abs((after - before).total_seconds() - seconds) < 0.001
    distance = (ticks[0] - anchor).total_seconds() / seconds
    assert abs(distance - round(distance)) * seconds < 0.001


@given(st.integers(1, 100_000), st.integers(0, 100_000))
def test_the_tick_after_a_tick_is_the_next_one_and_never_the_same(seconds: int, n: int) -> None:
    tick = NOON + timedelta(seconds=seconds * n)
    assert tick + timedelta(seconds=seconds) == next(Every(seconds).after(tick, NOON))


@pytest.mark.parametrize("schedule", [Every(60), Cron("* * * * *")])
def test_a_schedule_that_is_new_is_first_due_after_now(schedule: Every | Cron) -> None:
    assert NOON + MINUTE == first_due(schedule, NOON)


def test_a_tick_on_time_starts_whatever_the_policy() -> None:
    for catch_up in ("skip", "one", "all"):
        due = due_ticks(Every(60, catch_up=catch_up), NOON, NOON + MINUTE, NOON + 1.5 * MINUTE)
        assert ([NOON + MINUTE], NOON + 2 * MINUTE) == due


@pytest.mark.parametrize("kind", ["every", "cron"])
@pytest.mark.parametrize(
    ("catch_up", "started"),
    [("skip", [600]), ("one", [600]), ("all", [60 * n for n in range(1, 11)])],
)
def test_ticks_that_were_missed_are_made_up_for_as_the_policy_says(
    kind: str, catch_up: str, started: list[int]
) -> None:
    schedule = Every(60, catch_up=catch_up) if kind == "every" else Cron("* * * * *", catch_up=catch_up)
    ticks, following = due_ticks(schedule, NOON, NOON + MINUTE, NOON + 10 * MINUTE)
    assert [NOON + timedelta(seconds=s) for s in started] == ticks
    assert NOON + 11 * MINUTE == following


def test_skip_leaves_a_tick_that_is_more_than_a_minute_late_and_one_starts_it() -> None:
    now = NOON + timedelta(hours=2, minutes=30)
    hourly = {"seconds": 3600}
    assert [] == due_ticks(Every(**hourly, catch_up="skip"), NOON, NOON + 60 * MINUTE, now)[0]
    assert [NOON + 120 * MINUTE] == due_ticks(Every(**hourly, catch_up="one"), NOON, NOON + 60 * MINUTE, now)[0]


def test_all_makes_up_for_the_newest_thousand_and_goes_on_after_them() -> None:
    now = NOON + timedelta(seconds=100_000)
    ticks, following = due_ticks(Every(1, catch_up="all"), NOON, NOON + timedelta(seconds=1), now)
    assert (CATCH_UP_LIMIT, now, now + timedelta(seconds=1)) == (len(ticks), ticks[-1], following)
    assert sorted(set(ticks)) == ticks


def test_nothing_follows_the_last_tick_there_is() -> None:
    yearly = Cron("0 0 29 2 *")
    last = datetime(2096, 2, 29, tzinfo=UTC)
    ticks, following = due_ticks(yearly, NOON, last, last)
    assert [last] == ticks
    assert following in (datetime(2104, 2, 29, tzinfo=UTC), NEVER)
