"""NDJSON: many runs in one request, line by line, in the memory of a few hundred."""

import io
import json
import socket
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api.rest import batch
from celeriac.state.errors import StateUnavailable

GREET = "/api/v1/workflows/api-tests.greet/batch"
ALL = "/api/v1/batch"
NDJSON = "application/x-ndjson"


def send(client: FlaskClient, lines: list[Any], path: str = GREET, **headers: str) -> Any:
    body = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    return client.post(path, data=body, content_type=NDJSON, headers=headers)


def answers(answer: Any) -> list[Any]:
    assert (200, NDJSON) == (answer.status_code, answer.mimetype), answer.text
    return [json.loads(line) for line in answer.data.splitlines()]


def runs(client: FlaskClient, query: str = "") -> list[Any]:
    found: list[Any] = client.get(f"/api/v1/runs?limit=200{query}").json["runs"]
    return found


def test_each_line_is_answered_with_its_run(client: FlaskClient) -> None:
    found = answers(send(client, [{"payload": {"name": name}, "options": {"tags": ["b"]}} for name in ("Ada", "Bo")]))
    assert [(0, "queued"), (1, "queued")] == [(each["index"], each["status"]) for each in found]
    started = {run["id"]: run["payload"]["name"] for run in runs(client, "&tag=b")}
    assert ["Ada", "Bo"] == [started[each["id"]] for each in found]
    assert {"api"} == {run["source"] for run in runs(client)}


def test_a_line_may_name_its_workflow(client: FlaskClient) -> None:
    lines = [
        {"workflow": "api-tests.greet", "payload": {"name": "Ada"}},
        {"workflow": "api-tests.anything", "payload": {}},
        {"workflow": "unheard-of"},
        {"payload": {}},
        {"workflow": 5},
    ]
    found = answers(send(client, lines, ALL))
    assert ["queued", "queued", 404, 422, 422] == [each.get("status") or each["error"]["status"] for each in found]
    assert ["api-tests.anything", "api-tests.greet"] == sorted(run["workflow"] for run in runs(client))


def test_a_line_that_cannot_be_says_why_and_the_others_start(client: FlaskClient, durable: Celeriac) -> None:
    lines: list[Any] = [
        {"payload": {"name": "Ada"}},
        b"{",
        b"[]",
        {"payload": {"nam": "Ada"}},
        {"payload": {"name": "\0"}},
        {"payload": {"name": "Ada"}, "options": {"priority": "high"}},
        {"payload": {"name": "Ada"}, "colour": "red"},
        b"\xff",
        b"   ",
        {"payload": {"name": "x" * (durable.settings.payload_limit_bytes + 70_000)}},
        {"payload": {"name": "x" * durable.settings.payload_limit_bytes}},
        {"payload": {"name": "Bo"}},
    ]
    found = answers(send(client, lines))
    assert [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11] == [each["index"] for each in found]
    told = [each.get("status") or each["error"]["status"] for each in found]
    assert ["queued", 400, 422, 422, 422, 400, 422, 400, 413, 413, "queued"] == told
    assert ["/payload/name", "/payload/nam"] == sorted(
        (fault["pointer"] for fault in found[3]["error"]["errors"]), reverse=True
    )
    assert "this line is not JSON" in found[1]["error"]["detail"]
    assert ["Ada", "Bo"] == sorted(run["payload"]["name"] for run in runs(client))


def test_a_stream_that_was_cut_off_is_sent_again_and_starts_nothing_twice(client: FlaskClient) -> None:
    lines = [{"payload": {"name": "Ada", "times": n}, "options": {"idempotency_key": f"line {n}"}} for n in range(1, 6)]
    first = answers(send(client, [*lines[:2], json.dumps(lines[2]).encode()[:30]]))
    assert 400 == first[2]["error"]["status"]
    again = answers(send(client, lines))
    assert [True, True, None, None, None] == [each.get("replayed") for each in again]
    assert [each["id"] for each in first[:2]] == [each["id"] for each in again[:2]]
    assert 5 == len(runs(client))
    other = answers(send(client, [lines[0] | {"payload": {"name": "Bo"}}, lines[0]]))
    assert (409, True) == (other[0]["error"]["status"], other[1]["replayed"])


def test_two_lines_with_one_key_are_one_run(client: FlaskClient) -> None:
    line = {"payload": {"name": "Ada"}, "options": {"idempotency_key": "k"}}
    first, second = answers(send(client, [line, line]))
    assert (first["id"], True) == (second["id"], second["replayed"])
    later = {"payload": {"name": "Ada"}, "options": {"debounce": {"key": "d", "delay": 60}}}
    first, second = answers(send(client, [later, later]))
    assert (first["id"], None) == (second["id"], second.get("replayed"))
    assert 2 == len(runs(client))


def test_a_chunk_that_postgres_did_not_take_says_so_line_by_line_and_the_next_one_is_tried(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_each, calls = batch.start_each, []

    def fails_first(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            raise StateUnavailable("Postgres does not answer: it is restarted")
        return start_each(*given)

    monkeypatch.setattr(batch, "start_each", fails_first)
    monkeypatch.setattr(batch, "CHUNK_LINES", 2)
    found = answers(send(client, [{"payload": {"name": "Ada"}}, b"{", {"payload": {"name": "Bo"}}]))
    assert [503, 400, "queued"] == [each.get("status") or each["error"]["status"] for each in found]
    assert 1 == len(runs(client))


def test_what_is_no_stream_is_refused_as_a_whole(client: FlaskClient) -> None:
    assert 415 == client.post(ALL, json={"payloads": []}).status_code
    assert 415 == send(client, [{}], **{"Content-Encoding": "gzip"}).status_code
    keyed = send(client, [{}], **{"Idempotency-Key": "k"})
    assert (400, True) == (keyed.status_code, "options.idempotency_key" in keyed.json["detail"])
    assert [] == answers(send(client, []))


class Lines(io.RawIOBase):
    """A body that is made while it is read, and notes how far it was read."""

    def __init__(self, count: int, line: Callable[[int], bytes]):
        self._lines = (line(n) for n in range(count))
        self._rest = b""
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self._rest) < len(buffer) and (line := next(self._lines, None)) is not None:
            self._rest += line
        given, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(given)] = given
        self.read_bytes += len(given)
        return len(given)


def stream(client: FlaskClient, body: Lines, path: str = GREET) -> Any:
    plain = FlaskClient(client.application, client.response_wrapper)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True}
    return plain.open(path, method="POST", content_type=NDJSON, environ_overrides=environ, buffered=False)


def mostly_broken(n: int) -> bytes:
    """One in two hundred starts a run; the others are no JSON, which takes as much memory and less time."""
    return b'{"payload": {"name": "Ada"}}\n' if n % 200 == 0 else b'{"payload": ' + b"x" * 200 + b"\n"


def test_fifty_thousand_lines_leave_nothing_behind(client: FlaskClient, durable: Celeriac) -> None:
    lines, blocks = 0, []
    for part in stream(client, Lines(50_000, mostly_broken)).iter_encoded():
        lines += part.count(b"\n")
        blocks.append(sys.getallocatedblocks())
    assert 50_000 == lines
    assert max(blocks[10:]) < blocks[10] + 20_000  # less than a block for each line that is kept, and its answer
    (row,) = durable.database.all("select count(*) as runs from celeriac.runs")
    assert 250 == row["runs"]


def test_three_times_the_lines_take_no_more_memory(client: FlaskClient) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in stream(client, Lines(count, mostly_broken)).iter_encoded():
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(500)  # what is made once
    assert peak(6000) < peak(2000) + 300_000


def test_the_first_lines_are_answered_before_the_last_are_read(client: FlaskClient) -> None:
    body = Lines(20_000, lambda n: b'{"payload": {"name": 5}}\n')
    parts = stream(client, body).iter_encoded()
    assert next(parts).startswith(b'{"index": 0, ')
    assert body.read_bytes < 100_000


def test_who_reads_nothing_before_all_is_sent_is_not_waited_for() -> None:
    """Its socket is full; the lines go on being read and started, and the answers come when it takes them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while ours.send(b"x" * 65_536):
                pass
        made = iter([b"a" * 10_000, b"b" * 10_000, b"c" * 10_000])
        taken = batch.as_they_are_taken(made, ours)
        first = next(taken)
        assert [] == list(made)  # all were made before the first was given
        assert b"a" * 10_000 + b"b" * 10_000 + b"c" * 10_000 == first + b"".join(taken)


def test_who_reads_gets_each_answer_when_it_is_made() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = iter([b"a" * 10_000, b"b"])
        taken = batch.as_they_are_taken(made, ours)
        assert b"a" * 10_000 == next(taken) + next(taken)
        assert [b"b"] == list(made)
        assert [] == list(taken)
