"""Streams of runs: what changes is told as it does, in the order of its commits, and goes on where a client left."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient
from processes import wait_until

from celeriac.api.current import FEED, end_streams
from celeriac.api.rest import feed as api_feed
from celeriac.api.rest import stream as api_stream
from celeriac.state import changes, runs
from celeriac.state.changes import Horizon, Position
from celeriac.state.errors import StateUnavailable
from celeriac.state.ids import new_id, parse
from celeriac.state.runs import NewRun
from tests.api.conftest import Worker

Events = list[tuple[str, str, Any]]


def events(text: str) -> Events:
    """Id, name and data of each event."""
    found = []
    for block in text.split("\n\n"):
        members = dict(each.split(": ", 1) for each in block.splitlines() if not each.startswith(":"))
        if "event" in members:
            found.append((members.get("id", ""), members["event"], json.loads(members["data"])))
    return found


def names(told: Events) -> list[str]:
    return [name for _, name, _ in told]


def streamed(client: FlaskClient, path: str, **given: Any) -> Events:
    """The events of a stream that ends by itself."""
    answer = client.get(path, **given)
    assert 200 == answer.status_code, answer.text
    return events(answer.text)


class Watched:
    """A stream that is read piece by piece, as it comes."""

    def __init__(self, client: FlaskClient, path: str, **given: Any):
        self.answer = client.get(path, buffered=False, **given)
        assert 200 == self.answer.status_code, self.answer.text
        self._pieces = iter(self.answer.response)
        assert "retry: 2000\n\n" == self.piece()

    def piece(self) -> str:
        return next(self._pieces).decode()

    def next(self, *wanted: str) -> Events:
        """The next events, as many as are wanted, which have these names."""
        told: Events = []
        while len(told) < len(wanted):
            told += events(self.piece())
        assert list(wanted) == names(told)
        return told

    def close(self) -> None:
        self.answer.close()


@pytest.fixture
def watch(client: FlaskClient) -> Iterator[Callable[..., Watched]]:
    opened: list[Watched] = []

    def watch(path: str, **given: Any) -> Watched:
        opened.append(Watched(client, path, **given))
        return opened[-1]

    yield watch
    for each in opened:
        each.close()


def moved(told: Events) -> list[tuple[str, str]]:
    return [(name, data["run_id"]) for _, name, data in told]


# Of one run.


def test_a_stream_tells_each_move_and_each_step_and_then_the_end(client, start, worker: Worker):
    run = start()
    held = worker.claim(run)
    worker.checkpoint(held, "charge", {"paid": True})
    runs.complete(worker.database, held.id, held.epoch, "1")
    told = streamed(client, f"/api/v1/runs/{run}/stream")
    assert ["run.queued", "run.running", "step.completed", "run.completed", "end"] == names(told)
    assert {"id": run, "status": "completed"} == told[-1][2]
    ids = [int(id) for id, _, _ in told[:-1]]
    assert sorted(set(ids)) == ids
    _, _, queued = told[0]
    assert queued.pop("at").endswith("Z")
    assert {
        "id": told[0][0], "event": "run.queued", "run_id": run, "workflow": "api-tests.greet", "from_status": None,
        "status": "queued", "cause": "triggered", "actor": "api", "attempt": 1, "epoch": 0, "worker_id": None,
        "error": None,
    } == queued  # fmt: skip
    step = told[2][2]
    assert ("charge", "charge", "step", "completed", 1) == tuple(
        step[name] for name in ("key", "name", "kind", "status", "attempt")
    )
    assert 500.0 == step["duration_ms"]
    assert "output" not in step


def test_a_stream_tells_as_it_happens_metadata_pause_retry_and_failure(watch, start, worker: Worker, client):
    run = start()
    stream = watch(f"/api/v1/runs/{run}/stream")
    stream.next("run.queued")
    held = worker.claim(run)
    stream.next("run.running")
    given = {"target": "run", "operation": "set", "key": "progress", "seq": None}
    runs.edit_metadata(worker.database, held.id, held.epoch, value="40", **given)
    assert {"progress": 40} == stream.next("run.metadata")[0][2]["metadata"]
    client.post(f"/api/v1/runs/{run}/pause", json={"note": "the supplier is down"})
    asked = stream.next("run.asked")[0][2]
    assert ("the supplier is down", None) == (asked["pause_note"], asked["cancel_requested_at"])
    client.post(f"/api/v1/runs/{run}/cancel")
    asked = stream.next("run.asked")[0][2]
    assert asked["cancel_requested_at"].endswith("Z")
    runs.conclude(worker.database, held.id, held.epoch, is_clean=True)
    assert "running" == stream.next("run.cancelled", "end")[0][2]["from_status"]


def test_a_step_that_is_tried_again_is_told_again(watch, start, worker: Worker):
    run = start()
    held = worker.claim(run)
    stream = watch(f"/api/v1/runs/{run}/stream")
    stream.next("run.queued", "run.running")
    error = {"type": "ValueError", "message": "declined", "traceback": None}
    for attempts in (1, 2):
        worker.retrying(held, "charge", error, attempts)
        told = stream.next("step.retrying")[0][2]
        assert (attempts, error) == (told["attempt"], told["error"])
    worker.checkpoint(held, "charge", 1)
    assert "completed" == stream.next("step.completed")[0][2]["status"]


def test_a_client_that_comes_again_is_told_what_it_missed_and_nothing_twice(client, start, worker: Worker):
    run = start()
    worker.complete(run)
    first, second, third, _ = streamed(client, f"/api/v1/runs/{run}/stream")
    by_header = streamed(client, f"/api/v1/runs/{run}/stream", headers={"Last-Event-ID": first[0]})
    by_query = streamed(client, f"/api/v1/runs/{run}/stream?after={first[0]}")
    assert [second[0], third[0], ""] == [id for id, _, _ in by_header] == [id for id, _, _ in by_query]
    assert ["end"] == names(streamed(client, f"/api/v1/runs/{run}/stream?after={third[0]}"))


def test_a_checkpoint_that_commits_late_is_not_missed(client, start, worker: Worker):
    """With numbers that are taken without the run's lock the second writer would get a greater one, commit first, and a
    reader at that number would never see the smaller one."""
    run = start()
    held = worker.claim(run)
    url = f"/api/v1/runs/{run}/events"
    second_is_done = threading.Event()

    def second() -> None:
        worker.checkpoint(held, "second", 2, seq=2)
        second_is_done.set()

    with worker.database.transaction() as transaction:
        worker.checkpoint(held, "first", 1, db=transaction)
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: second_is_done.is_set() or waits_for_a_lock(worker))
        seen = client.get(url).get_json()["after"]  # a reader, while the first has not committed
    thread.join(10)
    told = client.get(f"{url}?after={seen}").get_json()["events"]
    assert {"first", "second"} == {each["key"] for each in told}


def test_children_that_start_side_by_side_are_told_in_the_order_of_their_commits(client, start, worker: Worker):
    run = start()
    held = worker.claim(run)
    is_started = threading.Event()

    def child(name: str, db: Any) -> None:
        new = NewRun(
            id=new_id(), workflow="api-tests.greet", queue="q", payload="{}", source="parent", parent_id=held.id,
            parent_step=name, root_id=held.id,
        )  # fmt: skip
        assert runs.start(db, [new], held.epoch)

    with worker.database.transaction() as transaction:
        child("first", transaction)
        thread = threading.Thread(target=lambda: (child("second", worker.database), is_started.set()))
        thread.start()
        wait_until(lambda: is_started.is_set() or waits_for_a_lock(worker))
        seen = client.get(f"/api/v1/runs/{run}/events").get_json()["after"]
    thread.join(10)
    told = client.get(f"/api/v1/runs/{run}/events?after={seen}").get_json()["events"]
    assert {"first", "second"} == {each["key"] for each in told}


def test_values_with_line_breaks_and_markup_stay_one_line_of_data(client, start, worker: Worker):
    polyglot = "a\r\n\r\nevent: end\rdata: {}\u2028</script><img src=x onerror=alert(1)>\n\n"
    run = start()
    worker.fail(run, polyglot)
    text = client.get(f"/api/v1/runs/{run}/stream").text
    assert ["run.queued", "run.running", "run.failed", "end"] == names(events(text))
    assert polyglot == events(text)[2][2]["error"]["message"]
    assert "\r" not in text
    assert text.isascii()


def test_a_stream_is_not_kept_or_packed_on_the_way(client, start, worker: Worker):
    run = start()
    worker.complete(run)
    answer = client.get(f"/api/v1/runs/{run}/stream")
    assert "text/event-stream" == answer.mimetype
    assert "no-cache, no-transform" == answer.headers["Cache-Control"]
    assert "no" == answer.headers["X-Accel-Buffering"]
    assert "no-store" == client.get(f"/api/v1/runs/{run}").headers["Cache-Control"]


def test_a_run_with_more_events_than_a_look_gives_is_told_whole(client, start, worker: Worker, monkeypatch):
    monkeypatch.setattr(api_stream, "LIMIT", 3)
    run = start()
    held = worker.claim(run)
    for n in range(10):
        worker.checkpoint(held, f"step {n}", n, seq=n)
    runs.complete(worker.database, held.id, held.epoch, "1")
    told = streamed(client, f"/api/v1/runs/{run}/stream")
    assert [f"step {n}" for n in range(10)] == [data["key"] for _, name, data in told if name == "step.completed"]
    assert "end" == told[-1][1]


def test_silence_is_broken_by_a_sign_of_life_that_says_where_to_go_on(watch, start, monkeypatch):
    monkeypatch.setattr(api_feed, "PING_SECONDS", 0.05)
    stream = watch(f"/api/v1/runs/{start()}/stream")
    ((last, _, _),) = stream.next("run.queued")
    assert f": still here\nid: {last}\n\n" == stream.piece()


def test_a_stream_closes_after_its_time_and_the_client_comes_again(client, start, monkeypatch):
    monkeypatch.setattr(api_feed, "STREAM_SECONDS", 0.3)
    told = streamed(client, f"/api/v1/runs/{start()}/stream")
    assert ["run.queued"] == names(told)


def test_a_run_that_is_deleted_while_it_is_watched_ends_its_stream(watch, start, worker: Worker):
    run = start()
    stream = watch(f"/api/v1/runs/{run}/stream")
    stream.next("run.queued")
    worker.database.all("delete from celeriac.runs where id = %(id)s", id=parse("run", run))
    assert {"id": run, "status": None} == stream.next("end")[0][2]


# As a list.


def test_the_events_of_a_run_are_a_list_for_those_who_cannot_stream(client, start, worker: Worker):
    run = start()
    url = f"/api/v1/runs/{run}/events"
    first = client.get(url).get_json()
    assert ["run.queued"] == [each["event"] for each in first["events"]]
    assert ("queued", False, first["events"][-1]["id"]) == (first["status"], first["has_more"], first["after"])
    assert {"events": [], "after": first["after"], "has_more": False, "status": "queued"} == client.get(
        f"{url}?after={first['after']}"
    ).get_json()
    worker.complete(run)
    one = client.get(f"{url}?after={first['after']}&limit=1").get_json()
    assert (["run.running"], True) == ([each["event"] for each in one["events"]], one["has_more"])
    rest = client.get(f"{url}?after={one['after']}").get_json()
    assert (["run.completed"], False, "completed") == (
        [each["event"] for each in rest["events"]], rest["has_more"], rest["status"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{run}/stream?after=x", "not the id of an event"),
        ("{run}/stream?after=99999999999999999999", "not the id of an event"),
        ("{run}/stream?status=failed", "nothing that can be asked for here"),
        ("{run}/events?limit=0", "limit=0"),
        ("/api/v1/runs/stream?statsu=failed", "did you mean 'status'"),
        ("/api/v1/runs/stream?status=broken", "is no status"),
        ("/api/v1/runs/stream?limit=5", "nothing that can be asked for here"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_advice(client, start, path, told):
    answer = client.get(path.replace("{run}", f"/api/v1/runs/{start()}"))
    assert 400 == answer.status_code
    assert told in answer.get_json()["detail"]


def test_a_run_that_is_not_there_has_no_stream(client):
    for path in ("stream", "events"):
        assert 404 == client.get(f"/api/v1/runs/run_{'0' * 32}/{path}").status_code


# Of a filter.


def test_a_filter_tells_the_moves_of_its_runs_from_now_on(watch, start, worker: Worker):
    start(tags=["vip"])  # before
    stream = watch("/api/v1/runs/stream?tag=vip")
    assert stream.piece().startswith("id: ")
    start()
    run = start(tags=["vip"])
    assert [("run.queued", run)] == moved(stream.next("run.queued"))
    worker.complete(run)
    assert [("run.running", run), ("run.completed", run)] == moved(stream.next("run.running", "run.completed"))


def test_a_filter_of_a_status_tells_who_comes_into_it_and_who_leaves_it(watch, start, worker: Worker, client):
    stream = watch("/api/v1/runs/stream?status=failed,cancelled")
    stream.piece()
    run = start()
    worker.fail(run)
    assert [("run.failed", run)] == moved(stream.next("run.failed"))
    client.post(f"/api/v1/runs/{run}/retry")
    (told,) = stream.next("run.queued")
    assert "failed" == told[2]["from_status"]


def test_a_client_of_a_filter_that_comes_again_misses_nothing(watch, start, worker: Worker):
    stream = watch("/api/v1/runs/stream?workflow=api-tests.greet")
    cursor = stream.piece().removeprefix("id: ").strip()
    first = start()
    stream.next("run.queued")
    stream.close()
    second = start()
    again = watch("/api/v1/runs/stream?workflow=api-tests.greet", headers={"Last-Event-ID": cursor})
    assert [("run.queued", first), ("run.queued", second)] == moved(again.next("run.queued", "run.queued"))


@pytest.mark.parametrize("is_first_to_begin", [True, False])
def test_a_filter_tells_of_a_run_whose_transaction_commits_late(watch, worker: Worker, is_first_to_begin: bool):
    """Also where the transaction that lasts is the younger one: the newest that ended says nothing of it."""
    database, stream = worker.database, watch("/api/v1/runs/stream")
    stream.piece()
    late, early, after = (new_run() for _ in range(3))
    with database.transaction() as slow, database.transaction() as quick:
        for each in (slow, quick) if is_first_to_begin else (quick, slow):
            each.all("select pg_current_xact_id()")
        runs.start(slow, [late])
        runs.start(quick, [early])
        quick.connection.commit()
        assert [early.id] == [parse("run", id) for _, id in moved(stream.next("run.queued"))]
        runs.start(database, [after])
        told = stream.next("run.queued")
        assert [after.id] == [parse("run", id) for _, id in moved(told)]
    assert [late.id] == [parse("run", id) for _, id in moved(stream.next("run.queued"))]
    again = watch("/api/v1/runs/stream", headers={"Last-Event-ID": told[0][0]})  # who left before, too
    assert late.id in [parse("run", id) for _, id in moved(again.next("run.queued", "run.queued", "run.queued"))]


def test_a_filter_that_leaves_nothing_of_many_moves_goes_on_at_once(client, watch, start, monkeypatch):
    monkeypatch.setattr(api_stream, "MOVES_LIMIT", 1)
    stream = watch("/api/v1/runs/stream?tag=vip", headers={"Last-Event-ID": "0"})
    monkeypatch.setattr(api_feed, "LOOK_SECONDS", 60.0)
    for _ in range(4):
        start()
    run = start(tags=["vip"])
    client.application.extensions[FEED].nudge()
    assert [("run.queued", run)] == moved(stream.next("run.queued"))


def test_moves_are_settled_once_no_transaction_can_add_one(worker: Worker):
    database, horizon = worker.database, Horizon()
    with database.transaction() as slow:
        runs.start(slow, [new_run()])
        for _ in range(3):
            runs.start(database, [new_run()])
            horizon.look(database)
        assert horizon.newest > horizon.settled
    horizon.look(database)
    horizon.look(database)
    assert horizon.newest == horizon.settled


def test_a_position_moves_behind_what_was_told():
    position = Position(10, frozenset({12}))
    assert Position(11, frozenset({12, 15})) == position.moved([15], settled=11, is_cut=False)
    assert Position(20) == position.moved([15], settled=20, is_cut=False)
    assert Position(15) == position.moved([11, 15], settled=20, is_cut=True)
    assert Position(11, frozenset({12, 13})) == position.moved([13], settled=11, is_cut=True)


# Room, and those who leave.


def test_who_has_as_many_streams_as_allowed_is_refused_and_gets_room_back(make_client, start, worker: Worker):
    client, run = make_client(celeriac_stream_limit=5, celeriac_stream_limit_per_client=2), start()
    url = f"/api/v1/runs/{run}/stream"
    held = [Watched(client, url) for _ in range(2)]
    refused = client.get(f"/api/v1/runs/{run}/logs/stream")
    assert (503, "5") == (refused.status_code, refused.headers["Retry-After"])
    assert "to you already" in refused.get_json()["detail"]
    held[0].close()
    worker.complete(run)
    assert 200 == client.get(f"/api/v1/runs/{run}/logs/stream").status_code
    held[1].close()


def test_a_process_has_room_for_so_many_streams_and_refuses_more_while_requests_stay_fast(make_client, start):
    client, run = make_client(celeriac_stream_limit=2), start()
    held = [Watched(client, f"/api/v1/runs/{run}/stream") for _ in range(2)]
    for _ in range(2):
        began = time.monotonic()
        refused = client.get("/api/v1/runs/stream")
        assert (503, "5") == (refused.status_code, refused.headers["Retry-After"])
        assert "urn:celeriac:problem:too-many-streams" == refused.get_json()["type"]
        assert 200 == client.get(f"/api/v1/runs/{run}").status_code
        assert time.monotonic() - began < 1
    for each in held:
        each.close()


def test_a_client_that_hung_up_frees_its_room_at_once(make_client, start):
    client, run = make_client(celeriac_stream_limit=1), start()
    here, there = socket.socketpair()
    with closing(here):
        held = Watched(client, f"/api/v1/runs/{run}/stream", environ_overrides={"gunicorn.socket": here})
        held.next("run.queued")
        there.close()
        with pytest.raises(StopIteration):
            held.piece()
        held.close()
    Watched(client, f"/api/v1/runs/{run}/stream").close()


def test_viewers_of_one_run_cost_one_question(watch, start, monkeypatch):
    asked: list[int] = []
    after = changes.after
    monkeypatch.setattr(changes, "after", lambda db, each, limit: (asked.append(len(each)), after(db, each, limit))[1])
    run = start()
    streams = [watch(f"/api/v1/runs/{run}/stream") for _ in range(20)]
    for each in streams:
        each.next("run.queued")
    asked.clear()
    wait_until(lambda: len(asked) >= 2)
    assert {1} == set(asked)


def test_a_stream_ends_when_postgres_goes_away_and_the_client_is_to_come_again(watch, start, monkeypatch):
    stream = watch(f"/api/v1/runs/{start()}/stream")
    stream.next("run.queued")

    def away(*_: Any) -> None:
        raise StateUnavailable("Postgres does not answer: connection refused to a host of ours")

    monkeypatch.setattr(changes, "after", away)
    assert ": Postgres does not answer, come again\n\n" == stream.piece()
    with pytest.raises(StopIteration):
        stream.piece()


def test_a_process_that_stops_ends_its_streams_and_takes_no_more(client, start, watch):
    run = start()
    stream = watch(f"/api/v1/runs/{run}/stream")
    stream.next("run.queued")
    end_streams(client.application)
    assert ": this server stops, come again\n\n" == stream.piece()
    assert 503 == client.get(f"/api/v1/runs/{run}/stream").status_code


def test_the_thread_that_looks_ends_with_the_last_viewer(client, start):
    before = looking()
    stream = Watched(client, f"/api/v1/runs/{start()}/stream")
    (thread,) = looking() - before
    stream.close()
    thread.join(5)
    assert not thread.is_alive()


def looking() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "celeriac-feed"}


def new_run() -> NewRun:
    return NewRun(id=new_id(), workflow="api-tests.greet", queue="api-tests.greet", payload="{}", source="python")


def waits_for_a_lock(worker: Worker) -> bool:
    row = worker.database.one(
        "select count(*) as waiting from pg_stat_activity "
        "where datname = current_database() and wait_event_type = 'Lock'"
    )
    return bool(row and row["waiting"])
