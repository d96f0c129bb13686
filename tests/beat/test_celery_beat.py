"""The `beat_schedule` of a shop, taken over: plain Celery tasks and workflows alike."""

import json
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
import redis
from celery.schedules import crontab, maybe_schedule, solar
from celery.utils.time import remaining

from celeriac import Cron, Every
from celeriac.beat.celery_scheduler import Scheduler as CeleryScheduler
from celeriac.beat.scheduler import Scheduler
from celeriac.state import runs, schedules
from celeriac.workflows import DurableTask
from celeriac.workflows.errors import UsageError
from celeriac.workflows.schedules.celery_beat import declare, entries, expression_of, schedule_of
from celeriac.workflows.schedules.schedule import upcoming

HOUR = timedelta(hours=1)
TASK = {"task": "shop.mail", "schedule": 3600.0, "args": ["a"], "kwargs": {"b": 1}}


@pytest.fixture
def app(shop):
    @shop.app.task(name="shop.mail", shared=False)
    def mail(*args, **kwargs): ...

    shop.app.conf.result_expires = None
    return shop.app


def rows(shop):
    return {row.key: row for row in schedules.find(shop.database, schedules.Filter(), 50)}


def messages(shop) -> list[dict]:
    with redis.Redis.from_url(shop.settings.redis_url) as client:
        return [json.loads(message) for message in client.lrange("celery", 0, -1)]


@pytest.mark.parametrize(
    ("given", "expression"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute="*/15"), "*/15 * * * *"),
        (crontab(minute=0, hour="*/3,8-17"), "0 0,3,6,8-18,21 * * *"),
        (crontab(hour=7, minute=30, day_of_week=1), "30 7 * * 1"),
        (crontab(0, 0, day_of_week="sunday"), "0 0 * * 0"),
        (crontab(0, 0, day_of_month="1-7", day_of_week="mon"), "0 0 1-7 * &1"),
        (crontab(0, 0, month_of_year="jan,dec"), "0 0 * 1,12 *"),
        (crontab(minute={5, 35}, hour=[1, 2, 3]), "5,35 1-3 * * *"),
    ],
)
def test_a_crontab_is_a_cron_of_the_same_times(given, expression):
    assert expression == expression_of(given)
    Cron(expression)


def test_a_timedelta_and_seconds_are_intervals(app):
    assert Every(90) == schedule_of("x", timedelta(seconds=90), app)
    assert Every(30.0) == schedule_of("x", 30.0, app)


@pytest.mark.parametrize("seconds", [7, 60, 90, 900, 3600, 5400, 86_400, 129_600])
def test_a_relative_interval_goes_by_the_clock_as_celery_s_own_does(app, seconds):
    app.conf.timezone = "Europe/Berlin"
    every = timedelta(seconds=seconds)
    ours = schedule_of("x", every, app, is_relative=True)
    ticks = list(islice(upcoming(ours, datetime(2026, 1, 15, 9, 41, tzinfo=UTC), ours.start), 20))
    celery_s = maybe_schedule(every, relative=True, app=app)
    for last, tick in pairwise(ticks):
        last = last.astimezone(app.timezone)  # noqa: PLW2901
        assert tick == last + remaining(last, celery_s.run_every, last, relative=True)


def test_a_relative_interval_of_an_entry_is_kept_when_it_is_declared_again(shop, app):
    entry = TASK | {"schedule": timedelta(hours=2), "relative": True}
    for _ in range(2):
        declare(shop, {"mail": entry})
    (row,) = rows(shop).values()
    assert (0, 0, 0) == (row.next_due_at.minute, row.next_due_at.second, row.next_due_at.hour % 2)


def test_a_crontab_is_in_the_time_zone_of_the_app(app):
    app.conf.timezone = "Europe/Berlin"
    app.conf.beat_cron_starting_deadline = 60
    assert Cron("0 8 * * *", "Europe/Berlin", catch_up_window=60) == schedule_of("x", crontab(0, 8), app)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (TASK | {"schedule": solar.__new__(solar)}, r"beat_schedule\['mail'\] is solar: only crontab"),
        (TASK | {"schedule": 0.1}, "give 1 second"),
        (TASK | {"arguments": []}, "'arguments' is no member"),
        ({"task": "beat.needs-an-argument", "schedule": 60}, r"beat_schedule\['mail'\].*missing a required argument"),
        (TASK | {"kwargs": {"x": object()}}, "cannot be kept"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_by_its_name(shop, app, entry, told):
    with pytest.raises(UsageError, match=told):
        declare(shop, {"mail": entry})
    assert {} == rows(shop)


def test_a_plain_task_is_sent_once_for_each_tick(shop, app):
    declare(shop, {"mail": TASK | {"options": {"queue": "celery", "expires": timedelta(hours=2)}}})
    due = rows(shop)["mail"].next_due_at
    assert {"ticks": 1, "unsent": 1} == Scheduler(shop).run_once(due)
    assert {"ticks": 0} == Scheduler(shop).run_once(due)
    (message,) = messages(shop)
    assert ("shop.mail", "mail") == (message["headers"]["task"], message["headers"]["celeriac-schedule"])
    assert due.isoformat() == message["headers"]["celeriac-scheduled-for"]
    assert message["headers"]["expires"]
    (tick,) = shop.schedule("mail").ticks()
    assert "sent" == tick["outcome"]


def test_a_task_whose_broker_was_away_is_sent_when_it_is_back_with_the_id_of_its_tick(shop, app, make_durable):
    declare(shop, {"mail": TASK})
    due = rows(shop)["mail"].next_due_at
    away = make_durable(celeriac_redis_url="redis://127.0.0.1:9/0")
    with pytest.raises(Exception, match="does not answer"):
        Scheduler(away).run_once(due)
    assert ["unsent"] == [tick["outcome"] for tick in shop.schedule("mail").ticks()]
    assert {"ticks": 1} == Scheduler(shop).run_once(due)
    shop.database.all(
        "update celeriac.ticks set outcome = 'unsent', sent_at = null"
    )  # the answer of the broker was lost
    assert {"ticks": 1} == Scheduler(shop).run_once(due)
    first, second = messages(shop)
    assert first["headers"]["id"] == second["headers"]["id"]


def test_one_task_that_cannot_be_sent_holds_no_other_back(shop, app):
    declare(shop, {"bad": TASK | {"options": {"serializer": "no such"}}, "good": TASK})
    Scheduler(shop).run_once(rows(shop)["good"].next_due_at)
    assert 1 == len(messages(shop))
    (failed,) = shop.schedule("bad").ticks()
    assert ("failed", True) == (failed["outcome"], "no such" in failed["note"])


def test_an_entry_that_names_a_workflow_starts_runs_of_it(shop, app):
    declare(shop, {"n": {"task": "beat.needs-an-argument", "schedule": 60, "args": [7], "options": {"priority": 3}}})
    assert {"ticks": 1} == Scheduler(shop).run_once(rows(shop)["n"].next_due_at)
    (run,) = runs.find(shop.database, runs.Filter(source="schedule"), 10)
    assert ('{"n":7}', 3) == (run.payload, run.priority)


def test_an_entry_that_names_a_durable_task_starts_runs_of_it_or_sends_it_where_it_is_to_go(shop, app):
    @shop.app.task(name="shop.durable", shared=False, base=DurableTask)
    def durable(*args, **kwargs): ...

    declare(shop, {"run": TASK | {"task": "shop.durable", "options": {"expires": 60}}})
    assert {"ticks": 1} == Scheduler(shop).run_once(rows(shop)["run"].next_due_at)
    (run,) = runs.find(shop.database, runs.Filter(workflow="shop.durable"), 10)
    assert ({"args": ["a"], "kwargs": {"b": 1}}, "schedule") == (json.loads(run.payload), run.source)
    declare(shop, {"message": TASK | {"task": "shop.durable", "options": {"queue": "celery", "priority": 3}}})
    assert schedules.TASK == rows(shop)["message"].starts


def test_an_entry_that_is_there_no_more_is_removed_and_one_that_stays_keeps_its_next_tick(shop, app):
    declare(shop, {"one": TASK, "two": TASK})
    due = rows(shop)["one"].next_due_at
    declare(shop, {"one": TASK | {"kwargs": {"b": 2}}})
    (row,) = rows(shop).values()
    assert ("one", due, 2) == (row.key, row.next_due_at, json.loads(row.payload)["kwargs"]["b"])


def test_a_key_that_somebody_gave_to_a_schedule_of_their_own_stays_theirs(shop, app):
    shop.schedule("mail").create("beat.noop", Every(60))
    declare(shop, {"mail": TASK})
    assert "beat.noop" == rows(shop)["mail"].workflow


def test_the_entry_that_celery_beat_adds_by_itself_is_taken_over_too(app):
    app.conf.beat_schedule = {"mail": TASK}
    assert ["mail"] == list(entries(app))
    app.conf.result_expires = 3600
    assert ["mail", "celery.backend_cleanup"] == list(entries(app))


def test_celery_beat_runs_our_services_and_stops_them(shop, app):
    app.conf.beat_schedule = {"mail": TASK}
    assert "Postgres" in CeleryScheduler(app=app, lazy=True).info
    scheduler = CeleryScheduler(app=app, schedule_filename="celerybeat-schedule")
    assert 0 < scheduler.tick() <= 1
    assert ["mail"] == list(rows(shop))
    scheduler.close()
    scheduler.close()
    with pytest.raises(RuntimeError, match="its log says"):
        scheduler.tick()
