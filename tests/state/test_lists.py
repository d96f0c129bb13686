"""Lists of runs: what a filter finds, how many there are, and what was counted of the past."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from celeriac.state import census, measures, runs, trends
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.runs import Filter, Term

Insert = Callable[..., UUID]
ERROR = json.dumps({"type": "CardDeclined", "message": "the bank said 100% no_way"})


@pytest.fixture
def insert(database: Database) -> Insert:
    """A run as it is, without its way there."""
    now = database.now()

    def insert(status: str = "queued", ago: float = 60, took: float | None = None, **columns: Any) -> UUID:
        created = now - timedelta(seconds=ago)
        is_final = status in ("completed", "failed", "cancelled", "expired", "timed_out", "crashed")
        row = {
            "id": new_id(), "workflow": "w", "status": status, "cause": "c", "max_attempts": 1, "max_crashes": 1,
            "queue": "q", "payload": "{}", "source": "api", "created_at": created, "queued_at": created,
            "started_at": None if took is None else created,
            "finished_at": created + timedelta(seconds=took or 0) if is_final else None,
            "output": "1" if status == "completed" else None,
            "error": ERROR if status in ("failed", "timed_out", "crashed") else None,
        } | columns  # fmt: skip
        row["root_id"] = row["id"]
        values = ", ".join(f"%({name})s" for name in row)
        database.all(f"insert into celeriac.runs ({', '.join(row)}) values ({values})", **row)
        id: UUID = row["id"]
        return id

    return insert


def found(database: Database, **members: Any) -> list[UUID]:
    return [run.id for run in runs.find(database, Filter(**members), 50)]


def test_runs_of_several_statuses_are_one_list_by_their_creation(database: Database, insert: Insert) -> None:
    ids = [insert(status, ago=age) for age, status in enumerate(("failed", "queued", "crashed", "failed", "completed"))]
    assert ids[:1] + ids[2:4] == found(database, status=("failed", "crashed"))
    first = runs.find(database, Filter(status=("failed", "crashed")), 2)
    after = (first[-1].created_at, first[-1].id)
    assert [ids[3]] == found(database, status=("failed", "crashed"), after=after)


def test_a_term_finds_alternatives_patterns_and_what_is_not_like_them(database: Database, insert: Insert) -> None:
    sync = insert(workflow="sync-a", tags=["vip", "eu"])
    other = insert(workflow="sync_b", tags=["test"], version="v1")
    mail = insert(workflow="mail", concurrency_key="acme")
    assert {sync, other} == set(found(database, terms=[Term("workflow", ("sync*",))]))
    assert [other] == found(database, terms=[Term("workflow", ("sync_*",))])  # `_` is no joker
    assert {sync, mail} == set(found(database, terms=[Term("workflow", ("sync-a", "ma*"))]))
    assert [mail] == found(database, terms=[Term("workflow", ("sync*",), is_negated=True)])
    assert [sync] == found(database, tag="vip", terms=[Term("tag", ("eu",))])
    assert {sync, other} == set(found(database, terms=[Term("tag", ("vip", "t*t"))]))
    assert {sync, mail} == set(found(database, terms=[Term("tag", ("test",), is_negated=True)]))
    assert {sync, mail} == set(found(database, terms=[Term("version", ("v1",), is_negated=True)]))  # also without one
    assert [mail] == found(database, concurrency_key="acme")


def test_an_error_is_found_by_its_message_and_its_type_in_either_case(database: Database, insert: Insert) -> None:
    failed = insert("failed")
    insert("completed", error=ERROR)
    for text in ("carddeclined", "100% NO_way", "bank*no"):
        assert [failed] == found(database, terms=[Term("error", (text,))])
    assert [] == found(database, terms=[Term("error", ("bankXno",))])


def test_runs_are_found_by_ids_and_by_how_an_id_begins(database: Database, insert: Insert) -> None:
    ids = [insert(), insert()]
    assert set(ids) == set(found(database, ids=ids))
    whole = ids[0].hex
    assert [ids[0]] == found(database, id_between=(UUID(whole[:31] + "0"), UUID(whole[:31] + "f")))


def test_runs_are_counted_by_status_whatever_status_the_list_shows(database: Database, insert: Insert) -> None:
    for status in ("failed", "failed", "queued"):
        insert(status, workflow="mail")
    insert("failed")
    for filter, expected in ((Filter(status=("queued",)), 3), (Filter(workflow="mail"), 2)):
        counts = census.by_status(database, filter)
        assert counts is not None
        assert ((expected, False), (1, False), (0, False)) == tuple(counts[s] for s in ("failed", "queued", "running"))


def test_counting_stops_and_says_that_there_may_be_more(
    database: Database, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "STATUS_LIMIT", 2)
    monkeypatch.setattr(census, "SEEN_LIMIT", 2)
    for _ in range(3):
        insert("failed", workflow="mail")
    for filter in (Filter(), Filter(workflow="mail")):
        counts = census.by_status(database, filter)
        assert counts is not None
        assert (2, True) == counts["failed"]


def test_what_takes_too_long_is_left_out_and_the_connection_goes_on(database: Database) -> None:
    assert None is database.briefly("select pg_sleep(20)", 0.05)
    assert [{"one": 1}] == database.briefly("select 1 as one", 5)


def test_runs_are_counted_over_time_with_those_that_failed(database: Database, insert: Insert) -> None:
    now = database.now()
    insert("failed", ago=30)
    insert("queued", ago=90)
    insert("completed", ago=90)
    edges = [now - timedelta(seconds=seconds) for seconds in (120, 60, 0)]
    spans = census.over_time(database, Filter(), edges)
    assert spans is not None
    assert [(2, 0), (1, 1)] == [(span["runs"], span["failed"]) for span in spans]


def test_what_ended_is_drawn_by_span_with_its_percentiles(database: Database, insert: Insert) -> None:
    for took in (1.0, 1.0, 1.0, 100.0):
        insert("completed", ago=400, took=took)
    insert("failed", ago=400, took=1.0, workflow="mail")
    insert("expired", ago=400)
    _measure(database)
    (whole,) = trends.series(database, 3600, _since(database))[-1:]
    assert (6, 1) == (whole["ended"], whole["failed"])
    assert whole["p50_seconds"] == pytest.approx(1.0, rel=0.25)
    assert whole["p95_seconds"] == pytest.approx(100.0, rel=0.25)
    mail = trends.series(database, 3600, _since(database), "mail")
    assert [(1, 1)] == [(span["ended"], span["failed"]) for span in mail]
    by_name = {row["workflow"]: row for row in trends.by_workflow(database, 3600, _since(database))}
    assert {"w": (5, 0), "mail": (1, 1)} == {name: (row["ended"], row["failed"]) for name, row in by_name.items()}
    assert 5 == sum(ended for _, ended, _ in json.loads(by_name["w"]["spans"]))


def test_a_run_is_drawn_once_however_often_beat_counts(database: Database, insert: Insert) -> None:
    insert("completed", ago=400, took=1.0)
    for _ in range(2):
        _measure(database)
    assert 1 == sum(span["ended"] for span in trends.series(database, 60, _since(database)))


def test_spans_that_no_picture_shows_any_more_are_dropped(database: Database, insert: Insert) -> None:
    insert("completed", ago=400, took=1.0)
    _measure(database)
    assert 1 == trends.prune(database, database.now() + timedelta(hours=4))
    assert 2 == trends.prune(database, database.now() + timedelta(days=30))


def _measure(database: Database) -> None:
    if database.one("select 1 from celeriac.trends") is None:
        database.all("update celeriac.meters set measured_until = now() - interval '1 day'")
    measures.measure_runs(database)


def _since(database: Database) -> datetime:
    return database.now() - timedelta(days=1)
