"""What is kept, for how long, and where it goes before it is deleted."""

import json
from datetime import datetime, timedelta

import pytest

from celeriac import Celeriac, Every
from celeriac.beat.pruner import Pruner
from celeriac.beat.scheduler import Scheduler
from celeriac.state import logouts, repairs, retention, runs, workers
from celeriac.state.ids import new_id
from celeriac.workflows import registry
from celeriac.workflows.workflow import Workflow

DAY = timedelta(days=1)


@pytest.fixture
def ended(shop, start):
    """Runs of `beat.noop` that have ended now."""
    return [repairs.cancel(shop.database, start().id) for _ in range(3)]


def in_days(shop, days: float) -> datetime:
    return shop.database.now() + days * DAY


def count(shop, table: str) -> int:
    return shop.database.one(f"select count(*) as n from celeriac.{table}")["n"]


def test_a_finished_run_goes_with_all_that_belongs_to_it_when_its_time_is_over(shop, ended, start):
    live = start()
    assert 0 == Pruner(shop).run_once(in_days(shop, 29))["runs"]
    assert 3 == Pruner(shop).run_once(in_days(shop, 31))["runs"]
    assert [live.id] == [run.id for run in runs.find(shop.database, runs.Filter(), 10)]
    assert 1 == count(shop, "run_history")


def test_a_workflow_may_keep_its_runs_for_another_time_or_for_ever(shop):
    names = {"beat.short": 1, "beat.ever": 0}
    for name, days in names.items():
        workflow = registry.add(Workflow(lambda: None, name=name, retention_days=days))
        shop.register()
        repairs.cancel(shop.database, workflow.delay().row.id)
    assert 1 == Pruner(shop).run_once(in_days(shop, 2))["runs"]
    assert 0 == Pruner(shop).run_once(in_days(shop, 2000))["runs"]
    assert ["beat.ever"] == [run.workflow for run in runs.find(shop.database, runs.Filter(), 10)]
    assert shop.trigger("beat.ever").row.max_attempts == 1  # what is stored of it does not disturb a trigger by name


def test_a_run_stays_while_its_root_lives_or_its_idempotency_key_stands_for_it(shop, start):
    keyed = repairs.cancel(shop.database, start(idempotency_key="k", idempotency_ttl=60 * 86_400).id)
    root, child = start(), repairs.cancel(shop.database, start().id)
    shop.database.all("update celeriac.runs set root_id = %(root)s where id = %(id)s", root=root.id, id=child.id)
    assert 0 == Pruner(shop).run_once(in_days(shop, 31))["runs"]
    repairs.cancel(shop.database, root.id)
    assert 2 == Pruner(shop).run_once(in_days(shop, 31))["runs"]
    assert [keyed.id] == [run.id for run in runs.find(shop.database, runs.Filter(), 10)]


def test_more_than_a_batch_goes_in_several_passes_that_follow_at_once(shop, ended, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    pruner = Pruner(shop)
    assert (2, 0.0) == (pruner.run_once(in_days(shop, 31))["runs"], pruner.due_in_seconds(None))
    assert (1, None) == (pruner.run_once(in_days(shop, 31))["runs"], pruner.due_in_seconds(None))


def test_runs_are_archived_as_json_lines_before_they_are_deleted(shop, make_durable, ended, tmp_path):
    archiving = make_durable(celeriac_archive_folder=str(tmp_path / "archive"))
    assert 3 == Pruner(archiving).run_once(in_days(shop, 31))["runs"]
    (file,) = (tmp_path / "archive").iterdir()
    documents = [json.loads(line) for line in file.read_text().splitlines()]
    assert {str(run.id) for run in ended} == {document["run"]["id"] for document in documents}
    assert [["queued", "cancelled"]] * 3 == [[m["to_status"] for m in each["history"]] for each in documents]


def test_where_the_archive_raises_nothing_is_deleted(shop, ended):
    def refuse(kind, documents):
        raise OSError(f"no room for {len(documents)} {kind}")

    shop.archive = refuse
    with pytest.raises(OSError, match="no room for 3 runs"):
        Pruner(shop).run_once(in_days(shop, 31))
    assert 3 == count(shop, "runs")
    got = []
    shop.archive = lambda kind, documents: got.extend(documents)
    assert (3, 3) == (Pruner(shop).run_once(in_days(shop, 31))["runs"], len(got))


def test_an_app_is_given_its_archive_where_it_is_made(shop):
    assert print is Celeriac(shop.app, archive=print).archive


def test_ticks_events_workers_and_removed_schedules_go_too(shop, worker):
    mine = shop.schedule("c1")
    row = mine.create("beat.noop", Every(3600))
    Scheduler(shop).run_once(row.next_due_at)
    mine.delete()
    workers.stop(shop.database, worker.id, "it shut down")
    shop.database.all("insert into celeriac.events (name, key, payload) values ('paid', 'k', '{}')")
    assert {0} == set(Pruner(shop).run_once(in_days(shop, 29)).values())
    counts = Pruner(shop).run_once(in_days(shop, 31))
    assert (1, 1, 1, 1) == (counts["ticks"], counts["events"], counts["workers"], counts["schedules"])
    assert [0] * 4 == [count(shop, table) for table in ("ticks", "events", "workers", "schedules")]


def test_with_a_retention_of_nothing_everything_is_kept(make_durable, shop, ended):
    keeping = make_durable(celeriac_retention_days=0, celeriac_delivery_retention_days=0)
    assert {0} == set(Pruner(keeping).run_once(in_days(shop, 5000)).values())


def test_a_logout_is_remembered_until_its_session_would_have_ended(shop):
    ended, other = new_id(), new_id()
    logouts.add(shop.database, ended, in_days(shop, 0.5))
    assert 0 == Pruner(shop).run_once(in_days(shop, 0.4))["logouts"]
    assert [True, False] == [logouts.has(shop.database, id) for id in (ended, other)]
    assert 1 == Pruner(shop).run_once(in_days(shop, 0.6))["logouts"]
    assert not logouts.has(shop.database, ended)
