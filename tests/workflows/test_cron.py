"""The calendar of a cron expression against two others, in zones with odd Sundays, years ahead, in both directions."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from cronsim import CronSim

from celeriac import Cron
from celeriac.workflows.errors import UsageError
from celeriac.workflows.schedules import cron

Fits = Callable[[datetime], bool]

MINUTE = timedelta(minutes=1)
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
EXPRESSIONS = [
    "*/30 * * * *", "0 * * * *", "30 2 * * *", "0 3 * * *", "15 1-4 * * *", "0 0 1 * *", "0 9 * * 1-5", "0 12 * * 0",
    "0 0 29 2 *", "59 23 31 12 *", "0 8 1,15 * *", "0 0 13 * 5", "7 4 * 3,10 *", "10,40 1,2,3 * * 0", "15,45 2 * * *",
    "30 1 * * *", "0 0 L * *", "0 6 * JAN,JUL MON",
]  # fmt: skip


def moments(expression: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    for moment in cron.after(expression, ZoneInfo(zone), begin):
        if moment > end:
            return found
        found.append(moment)
    return found


@cache
def changes(zone: str, year: int) -> list[datetime]:
    """The moments of a year at which the clock is changed."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    offsets = [((begin + n * MINUTE * 30).astimezone(ZoneInfo(zone)).utcoffset(), n) for n in range(365 * 48)]
    return [begin + n * MINUTE * 30 for (before, _), (after, n) in pairwise(offsets) if before != after]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_fires_as_cronsim_says_in_the_weeks_of_the_odd_sundays_years_ahead(expression: str, zone: str) -> None:
    for year in (2027, 2034):
        for changed in changes(zone, year) or [datetime(year, 3, 1, tzinfo=UTC)]:
            begin, end = changed - timedelta(days=4), changed + timedelta(days=4)
            expected = []
            for tick in CronSim(expression, begin.astimezone(ZoneInfo(zone))):
                if (at := tick.astimezone(UTC)) > end:
                    break
                expected.append(at)
            assert expected == moments(expression, zone, begin, end)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_fires_as_croniter_says_where_the_clock_is_not_changed(expression: str, zone: str) -> None:
    begin = datetime(2031, 11, 15, tzinfo=UTC)  # summer or winter everywhere, until March
    times = croniter(expression, begin.astimezone(ZoneInfo(zone)))
    end = begin + timedelta(days=100)
    expected = []
    while (at := times.get_next(datetime).astimezone(UTC)) <= end and len(expected) < 150:
        expected.append(at)
    assert expected == moments(expression, zone, begin, end)[: len(expected)]
    assert expected or expression in ("0 0 29 2 *", "7 4 * 3,10 *")


@pytest.mark.parametrize("zone", [*ZONES, "Asia/Kolkata", "Asia/Beirut", "America/Santiago"])
@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("*/20 */6 * * *", lambda wall: wall.minute % 20 == 0 and wall.hour % 6 == 0),
        ("* 2 * * 0", lambda wall: wall.hour == 2 and wall.weekday() == 6),
        ("*/7 1-3 * * *", lambda wall: wall.minute % 7 == 0 and 1 <= wall.hour <= 3),
        ("*/30 * * * *", lambda wall: wall.minute % 30 == 0),
    ],
)
def test_every_so_often_is_every_minute_whose_wall_clock_fits(expression: str, fits: Fits, zone: str) -> None:
    # By definition, minute for minute. (cronsim leaves some of these out in zones that change by half an hour.)
    for changed in changes(zone, 2029):
        begin = changed - timedelta(hours=30)
        minutes = [begin + n * MINUTE for n in range(1, 60 * 60)]
        walls = {at: at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in minutes}
        expected = [at for at, wall in walls.items() if fits(wall)]
        assert expected == moments(expression, zone, begin, minutes[-1])


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", ["*/30 * * * *", "30 2 * * *", "*/10 2 * * *", "0 2,3 * * *", "45 1 * * *"])
def test_from_each_moment_the_next_and_the_one_before_are_the_nearest(expression: str, zone: str) -> None:
    for changed in changes(zone, 2026) or [datetime(2026, 3, 1, tzinfo=UTC)]:
        begin = changed - timedelta(hours=3)
        every = list(islice(cron.after(expression, ZoneInfo(zone), begin - timedelta(days=2)), 400))
        for n in range(0, 6 * 60, 7):
            at = begin + n * MINUTE
            assert min(each for each in every if each > at) == next(cron.after(expression, ZoneInfo(zone), at))
            assert max(each for each in every if each <= at) == next(cron.until(expression, ZoneInfo(zone), at))


@pytest.mark.parametrize(
    ("zone", "gap", "fold"),
    [
        ("Europe/Berlin", "2026-03-29T01:00:00+00:00", "2026-10-25T00:30:00+00:00"),
        ("America/New_York", "2026-03-08T07:00:00+00:00", None),  # 02:30 happens once in autumn there
        ("UTC", None, None),
    ],
)
def test_half_past_two_runs_right_after_the_gap_and_in_the_first_of_the_two_hours(zone, gap, fold) -> None:
    at_the_time, often = "30 2 * * *", "*/30 * * * *"
    if gap:
        day = datetime.fromisoformat(gap) - timedelta(hours=12)
        assert [datetime.fromisoformat(gap)] == moments(at_the_time, zone, day, day + timedelta(hours=24))
        assert 48 == len(moments(often, zone, day, day + timedelta(hours=24)))
    if fold:
        day = datetime.fromisoformat(fold) - timedelta(hours=12)
        assert [datetime.fromisoformat(fold)] == moments(at_the_time, zone, day, day + timedelta(hours=24))
    assert 365 == len(
        moments(at_the_time, zone, datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2027, 1, 1, 12, tzinfo=UTC))
    )


@pytest.mark.parametrize(
    ("expression", "march", "october"),
    [
        ("30 2 * * *", ["03:00 CEST"], ["02:30 CEST"]),
        ("0,30 2 * * *", ["03:00 CEST"], ["02:00 CEST", "02:30 CEST"]),
        ("0 3 * * *", ["03:00 CEST"], ["03:00 CET"]),
        ("*/30 2 * * *", [], ["02:00 CEST", "02:30 CEST", "02:00 CET", "02:30 CET"]),
    ],
)
def test_the_two_odd_sundays_of_berlin_are_as_the_documentation_has_them(expression, march, october) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for day, told in (((2026, 3, 29), march), ((2026, 10, 25), october)):
        begin = datetime(*day, tzinfo=berlin).astimezone(UTC) - MINUTE
        found = moments(expression, "Europe/Berlin", begin, begin + timedelta(hours=20))
        assert told == [at.astimezone(berlin).strftime("%H:%M %Z") for at in found]
    half_hours = [
        len(moments("*/30 * * * *", "Europe/Berlin", begin - MINUTE, end - MINUTE))
        for day in ((2026, 3, 29), (2026, 10, 25))
        for begin in [datetime(*day, tzinfo=berlin).astimezone(UTC)]
        for end in [(datetime(*day) + timedelta(days=1)).replace(tzinfo=berlin).astimezone(UTC)]
    ]
    assert [46, 50] == half_hours


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_has_one_tick_each_day_for_ten_years(zone: str) -> None:
    begin = datetime(2026, 1, 1, 18, tzinfo=UTC)
    found = moments("30 2 * * *", zone, begin, begin + timedelta(days=3652))
    assert 3652 == len(found)
    assert len({at.astimezone(ZoneInfo(zone)).date() for at in found}) == len(found)


def test_seconds_stand_before_the_five_fields() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    found = list(islice(cron.after("*/20 30 2 * * *", ZoneInfo("Europe/Berlin"), begin), 4))
    assert ["01:30:00", "01:30:20", "01:30:40", "01:30:00"] == [f"{at:%H:%M:%S}" for at in found]
    assert moments("0 30 2 * * *", "Europe/Berlin", begin, begin + timedelta(days=400)) == moments(
        "30 2 * * *", "Europe/Berlin", begin, begin + timedelta(days=400)
    )


def test_with_an_ampersand_both_days_have_to_be_right() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    found = islice(cron.after("0 8 1-7 * &mon", ZoneInfo("UTC"), begin), 3)
    assert ["2026-01-05", "2026-02-02", "2026-03-02"] == [f"{at:%Y-%m-%d}" for at in found]


@pytest.mark.parametrize(
    "hostile",
    ["0 0 1--100000000 * *", "0 0 1-100000000 * *", "0 0 * * *" * 50, "*/0 * * * *", "*/99999999 * * * *",
     "1-2-3-4-5 * * * *", "," * 190 + " * * * *", "R R * * *", "0 0 1 * *\n", "0 0 1 * * &1 2", "0 & * * *"],
)  # fmt: skip
def test_a_hostile_expression_is_refused_in_milliseconds(hostile: str) -> None:
    began = time.process_time()
    with pytest.raises(UsageError):
        Cron(hostile + " x" if hostile.endswith("\n") else hostile)
    assert time.process_time() - began < 0.02
