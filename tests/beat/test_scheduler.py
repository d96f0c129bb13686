"""Schedules, tick by tick, at a `now` that the test chooses: exactly once, and by their policies."""

import json
import threading
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event

from celeriac import Cron, Every, Queue
from celeriac.beat.scheduler import HOLD_SECONDS, TICKS_OF_ONE, Scheduler
from celeriac.state import repairs, runs, schedules
from celeriac.workflows import registry
from celeriac.workflows.declaration import declare_schedules
from celeriac.workflows.schedules.row import Said, new_row
from celeriac.workflows.workflow import Workflow

HOUR = timedelta(hours=1)


def tick(shop, now: datetime) -> dict[str, int]:
    return Scheduler(shop).run_once(now)


def rows(shop, **filter):
    return schedules.find(shop.database, schedules.Filter(**filter), 100)


def started(shop) -> list[dict]:
    """The metadata of the runs that schedules have started, the earliest tick first."""
    found = runs.find(shop.database, runs.Filter(source="schedule"), 1000)
    return sorted((json.loads(run.metadata) for run in found), key=lambda told: told["scheduled_for"])


def outcomes(shop) -> list[str]:
    (row,) = rows(shop)
    return [each["outcome"] for each in reversed(schedules.ticks_of(shop.database, row.id, 100))]


@pytest.fixture
def hourly(shop):
    """`beat.noop`, scheduled each hour from now on, as another module would declare it. Returns when."""
    declared_at = shop.database.now()

    def declare_with(name: str = "beat.noop", **policies) -> datetime:
        scheduled = Workflow(lambda: None, name=name, schedule=Every(seconds=3600, **policies))
        declare_schedules(shop, [scheduled], declared_at)
        return declared_at

    return declare_with


class TestExactlyOnce:
    def test_a_tick_starts_one_run_that_knows_its_time_the_one_before_and_the_zone(self, shop, hourly):
        declared_at = hourly()
        assert {"ticks": 0} == Scheduler(shop).run_once()
        assert {"ticks": 1} == tick(shop, declared_at + HOUR)
        assert {"ticks": 1} == tick(shop, declared_at + 2 * HOUR)
        first, second = started(shop)
        expected = ((declared_at + HOUR).isoformat(), None, "UTC")
        assert expected == (first["scheduled_for"], first["previous"], first["timezone"])
        expected = ((declared_at + 2 * HOUR).isoformat(), first["scheduled_for"])
        assert expected == (second["scheduled_for"], second["previous"])

    def test_several_schedulers_start_each_tick_once(self, shop, hourly):
        now = hourly() + HOUR
        counts, barrier = [], threading.Barrier(4)

        def fire() -> None:
            barrier.wait()
            counts.append(tick(shop, now)["ticks"])

        threads = [threading.Thread(target=fire) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [0, 0, 0, 1] == sorted(counts)
        assert [1] == [row.ticks for row in rows(shop)]

    def test_a_thousand_schedules_of_one_second_are_a_few_statements(self, shop):
        declared_at = shop.database.now()
        new = [
            new_row(f"c{n}", schedules.DYNAMIC, Every(3600), Said(workflow="beat.noop"), declared_at, None)
            for n in range(1000)
        ]
        schedules.declare(shop.database, new, schedules.DYNAMIC, None)
        statements = []
        event.listen(shop.database._engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        assert {"ticks": 1000} == tick(shop, declared_at + HOUR)
        assert len(statements) < 12
        assert 1000 == len({told["schedule"] for told in started(shop)})

    def test_declaring_it_again_does_not_move_its_next_tick(self, shop, hourly):
        declared_at = hourly()
        again = Workflow(lambda: None, name="beat.noop", schedule=Every(seconds=3600, jitter=0, overlap="skip"))
        declare_schedules(shop, [again], declared_at + timedelta(minutes=5))
        (row,) = rows(shop)
        assert (declared_at + HOUR, "skip") == (row.next_due_at, row.overlap)

    def test_a_schedule_that_is_declared_no_more_ticks_no_more(self, shop, hourly):
        now = hourly() + 2 * HOUR
        declare_schedules(shop, [Workflow(lambda: None, name="beat.noop")], now)
        assert {"ticks": 0} == tick(shop, now)

    def test_two_schedules_of_one_expression_are_one(self, shop):
        twice = Workflow(lambda: None, name="beat.noop", schedule=[Every(60), Every(60), Cron("* * * * *")])
        declare_schedules(shop, [twice], shop.database.now())
        assert 2 == len(rows(shop))


class TestFaults:
    def test_a_tick_for_a_queue_that_takes_none_waits_and_holds_no_other_schedule_back(self, shop, hourly):
        now = hourly() + HOUR
        hourly(name="beat.other")
        registry.add(Workflow(lambda: None, name="beat.other", schedule=Every(seconds=3600)))
        shop.queue("beat.noop").drain(actor="ada")
        assert {"ticks": 1} == tick(shop, now)
        assert {"ticks": 0} == tick(shop, now)
        shop.queue("beat.noop").resume()
        assert {"ticks": 0} == tick(shop, now)  # it is tried again after a moment
        assert {"ticks": 1} == tick(shop, now + timedelta(seconds=HOLD_SECONDS))
        assert {"beat.noop", "beat.other"} == {run.workflow for run in runs.find(shop.database, runs.Filter(), 10)}

    def test_a_queue_with_room_for_some_takes_these(self, shop):
        capped = registry.add(Workflow(lambda: None, name="beat.capped", queue=Queue("capped", max_queued=2)))
        shop.register()
        for n in range(5):
            shop.schedule(f"capped {n}").create(capped, Every(3600))
        now = shop.database.now() + HOUR
        assert {"ticks": 2} == tick(shop, now)
        assert {"ticks": 0} == tick(shop, now + timedelta(seconds=HOLD_SECONDS))
        for run in runs.find(shop.database, runs.Filter(), 10):
            repairs.cancel(shop.database, run.id)
        assert {"ticks": 2} == tick(shop, now + timedelta(seconds=2 * HOLD_SECONDS))

    def test_a_tick_whose_key_is_full_is_skipped_where_the_queue_rejects(self, shop):
        declared_at = shop.database.now()
        queue = Queue("one-at-a-time", concurrency=1, when_full="reject")
        scheduled = Workflow(lambda: None, name="beat.single", queue=queue, schedule=Every(seconds=3600))
        registry.add(scheduled)
        shop.register()
        declare_schedules(shop, [scheduled], declared_at)
        assert {"ticks": 1} == tick(shop, declared_at + timedelta(minutes=61))
        assert {"ticks": 0, "skipped": 1} == tick(shop, declared_at + timedelta(minutes=121))
        (run,) = runs.find(shop.database, runs.Filter(), 10)
        repairs.cancel(shop.database, run.id)
        assert {"ticks": 1} == tick(shop, declared_at + timedelta(minutes=181))

    def test_a_schedule_whose_workflow_needs_arguments_does_not_stop_the_others_and_says_why(self, shop, hourly):
        hourly()
        declared_at = hourly(name="beat.needs-an-argument")
        assert {"ticks": 1, "failed": 1} == tick(shop, declared_at + timedelta(minutes=61))
        (row,) = rows(shop, workflow="beat.needs-an-argument")
        (failed,) = schedules.ticks_of(shop.database, row.id, 10)
        assert "/n: this parameter is required" in failed["note"]

    def test_what_postgres_refuses_of_one_tick_holds_no_other_back(self, shop, hourly):
        now = hourly() + HOUR
        shop.schedule("odd").create("beat.noop", Every(60))
        shop.database.all(
            "alter table celeriac.runs add constraint odd check (metadata ->> 'schedule' is distinct from 'odd')"
        )
        assert {"ticks": 1, "failed": 1} == tick(shop, now)
        (failed,) = shop.schedule("odd").ticks()
        assert "violates check constraint" in failed["note"]

    def test_a_schedule_that_this_code_cannot_read_holds_no_other_back(self, shop, hourly):
        now = hourly() + HOUR
        shop.schedule("odd").create("beat.noop", Cron("0 * * * *"))
        shop.database.all("update celeriac.schedules set expression = 'once in a blue moon' where key = 'odd'")
        assert {"ticks": 1} == tick(shop, now + HOUR / 60)


class TestMissedTicks:
    @pytest.mark.parametrize(
        ("policies", "ticks"),
        [
            ({"catch_up": "skip"}, 0),
            ({"catch_up": "one"}, 1),
            ({"catch_up": "all"}, 5),
            ({"catch_up": "all", "catch_up_limit": 3}, 3),
            ({"catch_up": "all", "catch_up_window": 2 * 3600}, 2),
            ({"catch_up": "one", "catch_up_window": 60}, 0),
        ],
    )
    def test_they_are_made_up_for_as_the_policy_says(self, shop, hourly, policies, ticks):
        declared_at = hourly(**policies)
        late = declared_at + timedelta(hours=5, minutes=30)
        assert {"ticks": ticks} == tick(shop, late)
        assert {"ticks": 0} == tick(shop, late)
        (row,) = rows(shop)
        assert declared_at + timedelta(hours=6) == row.next_due_at

    def test_many_missed_ticks_of_one_schedule_come_in_several_passes(self, shop, hourly):
        late = hourly(catch_up="all") + timedelta(hours=TICKS_OF_ONE + 7)
        assert [TICKS_OF_ONE, 7, 0] == [tick(shop, late)["ticks"] for _ in range(3)]
        times = [told["scheduled_for"] for told in started(shop)]
        assert TICKS_OF_ONE + 7 == len(set(times))


class TestOverlap:
    def test_skip_leaves_a_tick_out_while_a_run_has_not_ended(self, shop, hourly):
        declared_at = hourly(overlap="skip")
        assert {"ticks": 1} == tick(shop, declared_at + HOUR)
        assert {"ticks": 0, "skipped": 1} == tick(shop, declared_at + 2 * HOUR)
        (run,) = runs.find(shop.database, runs.Filter(source="schedule"), 10)
        repairs.cancel(shop.database, run.id)
        assert {"ticks": 1} == tick(shop, declared_at + 3 * HOUR)
        assert ["started", "skipped", "started"] == outcomes(shop)

    def test_queue_one_lets_one_tick_wait_for_the_end(self, shop, hourly):
        declared_at = hourly(overlap="queue_one")
        assert {"ticks": 1} == tick(shop, declared_at + HOUR)
        assert {"ticks": 0, "waiting": 1} == tick(shop, declared_at + 2 * HOUR)
        assert {"ticks": 0, "skipped": 1} == tick(shop, declared_at + 3 * HOUR)
        (run,) = runs.find(shop.database, runs.Filter(source="schedule"), 10)
        repairs.cancel(shop.database, run.id)
        now = declared_at + 3.5 * HOUR
        assert {"ticks": 1} == tick(shop, now)
        assert {"ticks": 0} == tick(shop, now)
        assert (declared_at + 2 * HOUR).isoformat() == started(shop)[1]["scheduled_for"]
        assert ["started", "started", "skipped"] == outcomes(shop)

    def test_cancel_running_makes_room_for_the_newest(self, shop, hourly):
        declared_at = hourly(overlap="cancel_running", catch_up="all")
        assert {"ticks": 1} == tick(shop, declared_at + HOUR)
        assert {"ticks": 1, "skipped": 2} == tick(shop, declared_at + 4 * HOUR)
        new, old = runs.find(shop.database, runs.Filter(source="schedule"), 10)
        assert ("queued", "cancelled") == (new.status, old.status)
        assert (declared_at + 4 * HOUR).isoformat() in new.metadata

    def test_allow_starts_another(self, shop, hourly):
        declared_at = hourly()
        assert [1, 1] == [tick(shop, declared_at + n * HOUR)["ticks"] for n in (1, 2)]

    def test_all_missed_ticks_with_skip_are_one_run(self, shop, hourly):
        late = hourly(catch_up="all", overlap="skip") + 3 * HOUR
        assert {"ticks": 1, "skipped": 2} == tick(shop, late)


class TestJitterStartAndEnd:
    def test_jitter_is_the_same_at_each_tick_and_spreads_schedules(self, shop):
        now = shop.database.now()
        made = [shop.schedule(f"c{n}").create("beat.noop", Every(3600, jitter=600)) for n in range(50)]
        offsets = {row.offset_seconds for row in made}
        assert len(offsets) > 40
        assert all(0 <= offset <= 600 for offset in offsets)
        assert all(row.next_fire_at - row.next_due_at == timedelta(seconds=row.offset_seconds) for row in made)
        assert {"ticks": 50} == tick(shop, now + HOUR + timedelta(seconds=605))
        again = {row.key: row.offset_seconds for row in rows(shop)}
        assert {row.key: row.offset_seconds for row in made} == again
        assert made[0].next_due_at.isoformat() in {told["scheduled_for"] for told in started(shop)}

    def test_a_tick_waits_for_its_jitter(self, shop):
        row = shop.schedule("c1").create("beat.noop", Every(3600, jitter=600))
        just_before = row.next_fire_at - timedelta(milliseconds=1)
        assert {"ticks": 0} == tick(shop, just_before)
        assert {"ticks": 1} == tick(shop, row.next_fire_at)

    def test_there_is_no_tick_before_the_start_and_after_the_end(self, shop):
        now = shop.database.now().replace(microsecond=0)
        row = shop.schedule("c1").create("beat.noop", Every(3600, start=now + 10 * HOUR, end=now + 12 * HOUR))
        assert now + 10 * HOUR == row.next_due_at
        ticks = [tick(shop, now + n * HOUR)["ticks"] for n in range(9, 16)]
        assert [0, 1, 1, 1, 0, 0, 0] == ticks
