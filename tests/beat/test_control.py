"""Schedules that people and programs make at run time: `durable.schedule(key)`."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from celeriac import Cron, Every, Queue
from celeriac.beat.scheduler import Scheduler
from celeriac.state import runs, schedules
from celeriac.workflows import registry
from celeriac.workflows.errors import (
    PayloadInvalid,
    QueueDraining,
    ScheduleConflict,
    UnknownSchedule,
    UnknownWorkflow,
    UsageError,
)
from celeriac.workflows.workflow import Workflow

HOUR = timedelta(hours=1)


@pytest.fixture
def mine(shop):
    return shop.schedule("report of c1")


def tick(shop, now: datetime) -> dict[str, int]:
    return Scheduler(shop).run_once(now)


def payloads(shop) -> list[dict]:
    return [json.loads(run.payload) for run in runs.find(shop.database, runs.Filter(source="schedule"), 100)]


def test_a_schedule_starts_its_workflow_with_its_payload_and_options(shop, mine):
    row = mine.create(
        "beat.needs-an-argument", Cron("0 * * * *"), {"n": 7}, external_id="c1", options={"tags": ["c1"], "priority": 5}
    )
    assert {"ticks": 1} == tick(shop, row.next_due_at)
    (run,) = runs.find(shop.database, runs.Filter(source="schedule"), 10)
    assert ('{"n":7}', ["c1"], 5) == (run.payload, run.tags, run.priority)
    assert "c1" == json.loads(run.metadata)["external_id"]


def test_one_key_is_one_schedule_however_often_it_is_made(shop, mine):
    first = mine.create("beat.noop", Every(60), external_id="c1")
    assert first.id == mine.create("beat.noop", Every(60), external_id="c1").id
    with pytest.raises(ScheduleConflict, match="update it, or choose another key"):
        mine.create("beat.noop", Every(61), external_id="c1")


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("beat.nop", Every(60)), UnknownWorkflow, "Did you mean 'beat.noop'"),
        (("beat.needs-an-argument", Every(60)), PayloadInvalid, "required"),
        (("beat.noop", "* * * * *"), UsageError, "neither a Cron nor an Every"),
    ],
)
def test_what_could_never_start_is_refused_when_it_is_made(shop, mine, arguments, error, told):
    with pytest.raises(error, match=told):
        mine.create(*arguments)
    with pytest.raises(UnknownSchedule):
        mine.row  # noqa: B018


def test_an_update_changes_what_is_given_and_leaves_the_rest(shop, mine):
    row = mine.create("beat.needs-an-argument", Every(3600), {"n": 1}, external_id="c1")
    changed = mine.update(payload={"n": 2})
    assert (row.next_due_at, row.anchor_at, "c1") == (changed.next_due_at, changed.anchor_at, changed.external_id)
    changed = mine.update(Every(3600, overlap="skip"))
    assert (row.next_due_at, "skip", '{"n":2}') == (changed.next_due_at, changed.overlap, changed.payload)
    changed = mine.update(Every(60), external_id=None)
    assert changed.next_due_at < row.next_due_at
    assert changed.external_id is None
    assert {"ticks": 1} == tick(shop, changed.next_due_at)
    assert [{"n": 2}] == payloads(shop)


def test_a_paused_schedule_does_not_fire_and_goes_on_from_where_it_is_resumed(shop, mine):
    row = mine.create("beat.noop", Every(3600))
    paused = mine.pause("ada", "on holiday")
    assert ("ada", "on holiday") == (paused.paused_by, paused.pause_note)
    assert {"ticks": 0} == tick(shop, row.next_due_at + 5 * HOUR)
    assert paused.paused_at == mine.pause("bob").paused_at
    resumed = mine.resume()
    assert resumed.paused_at is None
    assert {"ticks": 1} == tick(shop, resumed.next_due_at)


def test_a_pause_of_a_declared_schedule_survives_the_next_deploy(shop):
    scheduled = registry.add(Workflow(lambda: None, name="beat.declared", schedule=Every(3600)))
    shop.register()
    (row,) = schedules.find(shop.database, schedules.Filter(workflow=scheduled.name), 10)
    shop.schedule(row.key).pause()
    shop.register()
    assert {"ticks": 0} == tick(shop, row.next_due_at)
    for change in (lambda: shop.schedule(row.key).update(Every(60)), shop.schedule(row.key).delete):
        with pytest.raises(ScheduleConflict, match="change it there, or pause it"):
            change()


def test_a_deleted_schedule_is_gone_and_its_key_is_free(shop, mine):
    row = mine.create("beat.noop", Every(3600))
    mine.delete()
    assert {"ticks": 0} == tick(shop, row.next_due_at)
    for verb in (mine.delete, mine.pause, mine.resume, mine.run_now, mine.next_times):
        with pytest.raises(UnknownSchedule):
            verb()
    assert row.id != mine.create("beat.noop", Every(60)).id


def test_by_hand_it_fires_now_and_its_next_time_stays(shop, mine):
    row = mine.create("beat.noop", Every(3600, overlap="skip"))
    first, second = mine.run_now("ada"), mine.run_now()
    assert first.id != second.id
    assert row.next_due_at == mine.row.next_due_at
    newest = mine.ticks()[1]
    assert ("by hand", "ada", "started") == (newest["cause"], newest["actor"], newest["outcome"])


def test_what_refuses_a_run_by_hand_is_told_and_nothing_is_left(shop):
    single = registry.add(Workflow(lambda: None, name="beat.single", queue=Queue("single")))
    shop.register()
    mine = shop.schedule("single")
    mine.create(single, Every(3600))
    shop.queue("single").drain()
    with pytest.raises(QueueDraining):
        mine.run_now()
    assert [] == mine.ticks()


def test_the_next_times_are_told_in_any_zone(shop, mine):
    mine.create("beat.noop", Cron("0 8 * * *", timezone="Europe/Berlin"))
    own, there = mine.next_times(3), mine.next_times(3, "Asia/Tokyo")
    assert [8, 8, 8] == [at.hour for at in own]
    assert own == there
    assert {15, 16} >= {at.hour for at in there}
    for n, zone in ((0, None), (2, "Asia/Atlantis")):
        with pytest.raises(UsageError):
            mine.next_times(n, zone)


class TestBackfill:
    @pytest.fixture
    def hourly(self, shop, mine):
        mine.create("beat.noop", Cron("0 * * * *"))
        return mine

    def test_it_starts_what_is_missing_once(self, shop, hourly):
        end = shop.database.now()
        start = end - timedelta(hours=24)
        missing = hourly.backfill(start, end, dry_run=True)
        assert (24, 0) == (len(missing.due), missing.started)
        assert [] == hourly.ticks()
        done = hourly.backfill(start, end, actor="ada")
        assert (24, 24) == (len(done.due), done.started)
        again = hourly.backfill(start, end)
        assert (0, 0) == (len(again.due), again.started)
        ticks = hourly.ticks()
        assert {("backfill", "started", "ada")} == {(t["cause"], t["outcome"], t["actor"]) for t in ticks}
        assert ticks[1]["due_at"] == ticks[0]["previous_at"]

    def test_two_at_once_start_each_tick_once(self, shop, hourly):
        end, barrier = shop.database.now(), threading.Barrier(2)
        started = []

        def fill() -> None:
            barrier.wait()
            started.append(hourly.backfill(end - timedelta(hours=48), end).started)

        threads = [threading.Thread(target=fill) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 48 == sum(started)
        assert 48 == len(runs.find(shop.database, runs.Filter(source="schedule"), 100))

    def test_what_was_skipped_is_started_by_a_backfill(self, shop, mine):
        row = mine.create("beat.noop", Every(3600, overlap="skip"))
        shop.database.all("update celeriac.schedules set next_due_at = next_due_at - interval '2 hours'")
        first = row.next_due_at - 2 * HOUR
        assert {"ticks": 1} == tick(shop, first)
        assert {"ticks": 0, "skipped": 1} == tick(shop, first + HOUR)
        assert 1 == mine.backfill(first, shop.database.now()).started
        assert {"started"} == {each["outcome"] for each in mine.ticks()}

    def test_a_queue_without_room_takes_the_rest_later(self, shop):
        capped = registry.add(Workflow(lambda: None, name="beat.capped", queue=Queue("capped", max_queued=3)))
        shop.register()
        mine = shop.schedule("capped")
        mine.create(capped, Cron("0 * * * *"))
        end = shop.database.now()
        done = mine.backfill(end - 10 * HOUR, end)
        assert (10, 3, 7) == (len(done.due), done.started, done.held)

    @pytest.mark.parametrize(
        ("start", "end"),
        [(timedelta(0), -HOUR), (-HOUR, HOUR), (-timedelta(days=3650), timedelta(0))],
    )
    def test_a_range_that_cannot_be_is_refused(self, shop, hourly, start, end):
        now = shop.database.now()
        with pytest.raises(UsageError):
            hourly.backfill(now + start, now + end)
        with pytest.raises(UsageError, match="with a time zone"):
            hourly.backfill(datetime(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC))


def test_a_list_has_a_cursor_that_misses_none_while_schedules_fire(shop):
    now = shop.database.now()
    for n in range(25):
        shop.schedule(f"c{n:02}").create("beat.noop", Every(60 + n))
    seen, after = [], None
    while page := schedules.find(shop.database, schedules.Filter(after=after), 7):
        seen += [row.key for row in page]
        after = (page[-1].next_fire_at, page[-1].key)
        if len(seen) == 7:
            tick(shop, now + timedelta(seconds=62))  # those that were seen move behind the others
    assert {f"c{n:02}" for n in range(25)} == set(seen)
    assert ["c03"] == [row.key for row in schedules.find(shop.database, schedules.Filter(prefix="c03"), 7)]
