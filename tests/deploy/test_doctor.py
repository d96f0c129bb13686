"""`celeriac doctor` finds the usual mistakes, and says what to do about each."""

import json
from datetime import timedelta

import pytest

from celeriac import Cron, workflow
from celeriac.deploy.celery_checks import CeleryChecks
from celeriac.deploy.doctor import examine
from celeriac.state import workers
from celeriac.state.ids import new_id
from celeriac.state.workers import Worker
from celeriac.workflows import registry


@pytest.fixture(autouse=True)
def registry_of_this_test(monkeypatch):
    monkeypatch.setattr(registry, "_workflows", {})


class Nodes:
    """What live workers answer, in place of `app.control.inspect`."""

    def __init__(self, stats, reports=None):
        self._stats, self._reports = stats, reports or {}

    def __call__(self, timeout):
        return self

    def stats(self):
        return self._stats

    def report(self):
        return {node: {"ok": text} for node, text in self._reports.items()}


def node(prefetch=2, concurrency=2):
    return {"prefetch_count": prefetch, "pool": {"max-concurrency": concurrency}}


@pytest.fixture
def answering(durable, monkeypatch):
    """Live workers of Celery that answer so; those that `alive` names are known to Postgres."""

    def answering(stats, reports=None, alive=()):
        monkeypatch.setattr(durable.app.control, "inspect", Nodes(stats, reports))
        for name in alive:
            workers.register(durable.database, Worker(new_id(), name, 1, "prefork", 2, []))
        return CeleryChecks(durable)

    return answering


def test_all_is_well_where_nothing_is_wrong(durable, answering):
    answering({"a@host": node()}, {"a@host": "software -> celery:5.7.0 kombu:5.7.0 py:3.11.7"}, alive=["a@host"])
    found = {finding.check: finding for finding in examine(durable)}
    assert {"ok"} == {finding.verdict for finding in found.values()}, found
    expected = {
        "settings",
        "login",
        "database",
        "migrations",
        "redis",
        "clock",
        "workers",
        "strangers",
        "prefetch",
        "pool",
    }
    assert expected | {"names", "serializers", "results", "visibility", "mix", "versions"} == set(found)


def test_pickle(durable):
    durable.app.conf.accept_content = ["json", "pickle"]
    verdict, advice = CeleryChecks(durable).serializers()
    assert ("warning", True) == (verdict, advice.startswith("pickle is accepted"))
    assert "Leave json alone" in advice


def test_no_result_backend_where_a_plain_task_keeps_its_result(durable):
    assert "ok" == CeleryChecks(durable).results()[0]

    @durable.app.task(name="adds")
    def add(): ...

    verdict, advice = CeleryChecks(durable).results()
    assert ("warning", True) == (verdict, "adds keep their results" in advice)
    durable.app.conf.result_backend = "redis://"
    assert "ok" == CeleryChecks(durable).results()[0]


def test_a_visibility_timeout_that_is_shorter_than_the_longest_task(durable):
    @durable.app.task(name="transcodes", acks_late=True, time_limit=7200)
    def transcode(): ...

    verdict, advice = CeleryChecks(durable).visibility()
    assert ("warning", True) == (verdict, "transcodes (7200 s)" in advice)
    durable.app.conf.broker_transport_options = {"visibility_timeout": 10_000}
    assert "ok" == CeleryChecks(durable).visibility()[0]


def test_eventlet(durable):
    durable.app.conf.worker_pool = "eventlet"
    assert "failed" == CeleryChecks(durable).pool()[0]


def test_a_worker_that_takes_more_than_it_executes(answering):
    verdict, advice = answering({"a@host": node(prefetch=8)}, alive=["a@host"]).prefetch()
    assert ("warning", True) == (verdict, "--prefetch-multiplier 1" in advice)


def test_a_worker_without_celeriac(answering):
    verdict, advice = answering({"a@host": node(), "old@host": node()}, alive=["a@host"]).strangers()
    assert ("warning", True) == (verdict, advice.startswith("old@host answer"))


def test_a_name_in_a_schedule_that_no_code_has(durable):
    durable.app.conf.beat_schedule = {"nightly": {"task": "shop.reprot", "schedule": 60}}
    verdict, advice = CeleryChecks(durable).names()
    assert ("failed", True) == (verdict, "shop.reprot" in advice)


def test_a_scheduled_workflow_has_code(durable):
    workflow(name="nightly", schedule=Cron("0 3 * * *"))(lambda: None)
    durable.register()
    assert "ok" == CeleryChecks(durable).names()[0]


def test_workers_of_different_versions(answering):
    reports = {"a@host": "celery:5.7.0 (x) kombu:5.7.0", "b@host": "celery:5.6.3 (x) kombu:5.7.0"}
    verdict, advice = answering({"a@host": node(), "b@host": node()}, reports).mix()
    assert ("warning", True) == (verdict, "workers differ: celery 5.6.3, 5.7.0." in advice)


@pytest.mark.parametrize("server", ["the database", "Redis"])
def test_a_clock_that_is_off(durable, monkeypatch, server):
    clock = durable.database if server == "the database" else durable.buckets
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(minutes=2))
    (found,) = (each for each in examine(durable) if each.check == "clock")
    assert ("warning", True) == (found.verdict, f"{server} differ by 1" in found.advice)


def test_tables_that_are_behind(durable):
    durable.database.all("update celeriac.migrations set version_num = '0012'")
    try:
        (found,) = (each for each in examine(durable) if each.check == "migrations")
        assert ("failed", True) == (found.verdict, "celeriac migrate" in found.advice)
    finally:
        durable.database.all("update celeriac.migrations set version_num = '0013'")


def test_it_prints_json_and_fails_where_something_failed(run, durable):
    durable.app.conf.worker_pool = "eventlet"
    done = run("doctor", "--json")
    assert 1 == done.exit_code
    assert {"pool"} == {each["check"] for each in json.loads(done.output) if each["verdict"] == "failed"}
