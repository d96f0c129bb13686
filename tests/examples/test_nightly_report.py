"""examples/nightly_report.py: a report for each day, and those who are told of it."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from types import ModuleType

from one_terminal import Dev
from performer import Performer

from celeriac.beat.scheduler import Scheduler
from celeriac.state import runs, schedules, status
from celeriac.state.runs import Filter, RunRow

TODAY = "(now() at time zone 'Europe/Berlin')::date"


def today(perform: Performer) -> date:
    day: date = perform.database.one(f"select {TODAY} as day")["day"]
    return day


def hook_of(perform: Performer, run: RunRow) -> RunRow:
    (hook,) = runs.of_source(perform.database, "hook", f"run_{run.id.hex}")
    return hook


def test_the_report_is_written_once_for_a_day_and_mailed(example: ModuleType, perform: Performer) -> None:
    day = today(perform)
    for order_id, cents in (("o1", 2500), ("o2", 499), ("o2", 499)):
        perform(example.take_order, order_id, cents)
    for _ in range(2):
        done = perform(example.nightly_report, day)
        mailed = perform.finish(hook_of(perform, done))
        assert f'"{day}: 2 orders, 2999 cents"' == mailed.output
    rows = perform.database.all("select day, orders, cents from reports")
    assert [(day, 2, 2999)] == [(row["day"], row["orders"], row["cents"]) for row in rows]


def test_a_tick_reports_the_day_before_it_however_late_it_is(example: ModuleType, perform: Performer) -> None:
    example.durable.register()
    [schedule] = schedules.find(perform.database, schedules.Filter(), 10)
    due_at = schedule.next_due_at
    Scheduler(example.durable).run_once(due_at + timedelta(hours=5))
    [ticked] = runs.find(perform.database, Filter(workflow="nightly-report"), 10)
    local = due_at.astimezone(example.ZoneInfo("Europe/Berlin"))
    assert (2, 30) == (local.hour, local.minute)
    expected = {"day": str(local.date() - timedelta(days=1)), "orders": 0, "cents": 0}
    reported = perform.finish(ticked)
    assert (expected, "mail-report") == (json.loads(reported.output or ""), hook_of(perform, reported).workflow)


def test_a_report_that_fails_calls_the_operator(example: ModuleType, perform: Performer) -> None:
    failed = perform(example.nightly_report)
    hook = hook_of(perform, failed)
    assert (status.FAILED, "call-operator") == (failed.status, hook.workflow)
    assert f'"nightly-report run_{failed.id.hex} failed: which day?' in (perform.finish(hook).output or "")


def test_a_report_that_takes_an_hour_calls_the_operator_too(example: ModuleType, perform: Performer) -> None:
    held, _ = perform.claim(perform.start(example.nightly_report, today(perform)))
    runs.time_out(perform.database, held.deadline_at)
    perform.lose_worker()
    ended = perform.row(held.id)
    assert (status.TIMED_OUT, "call-operator") == (ended.status, hook_of(perform, ended).workflow)


def test_the_docstrings_commands_write_a_report(start_dev: Callable[..., Dev]) -> None:
    dev = start_dev("nightly_report")
    order = dev.trigger("take-order", order_id="o1", cents=2500)
    taken = dev.run_once_it(order, lambda run: run["status"] == "completed")
    day = taken["finished_at"][:10]
    report = dev.trigger("nightly-report", day=day)
    assert day == dev.run_once_it(report, lambda run: run["status"] == "completed")["output"]["day"]
    [mail] = dev.call("/api/v1/runs?workflow=mail-report")[1]["runs"]
    told = dev.run_once_it(mail["id"], lambda run: run["status"] == "completed")
    assert told["output"].startswith(f"{day}: ")
