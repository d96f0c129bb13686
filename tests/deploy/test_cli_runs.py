"""What people do with runs from a terminal: one by one, and many at once; events and tokens."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from celeriac import Celeriac, workflow
from celeriac.beat.bulk import BulkService
from celeriac.state import runs, steps, waits
from celeriac.state.ids import new_id, parse, public
from celeriac.state.runs import RunRow
from celeriac.state.steps import Checkpoint

ERROR = json.dumps({"type": "ValueError", "message": "no such\ncustomer", "traceback": None, "step": "charge"})
UNKNOWN = "run_" + "0" * 32


@workflow(name="cli-runs.order", on_event="cli-runs.placed")
def order(n: int = 1) -> None: ...


class Worker:
    """Moves runs as a worker would, without one."""

    def __init__(self, durable: Celeriac):
        self.database, self.id = durable.database, new_id()

    def claim(self, id: str) -> RunRow:
        held = runs.claim(self.database, parse("run", id), worker_id=self.id, worker_pid=1, version="v1", epoch=None)
        assert held is not None
        return held[0]

    def fail(self, id: str) -> RunRow:
        """After the step `fetch`, in the step `charge`."""
        held = self.claim(id)
        given = {"attempts": 1, "duration_seconds": 0.25}
        fetched = Checkpoint(key="fetch", seq=1, name="fetch", status=steps.COMPLETED, output='"Ada"', **given)
        charged = Checkpoint(key="charge", seq=2, name="charge", status=steps.FAILED, error=ERROR, **given)
        for checkpoint in (fetched, charged):
            steps.record(self.database, held.id, held.epoch, checkpoint)
        failed = runs.fail(self.database, held.id, held.epoch, ERROR, "the function raised, retries are spent")
        assert failed is not None
        return failed

    def complete(self, id: str) -> None:
        held = self.claim(id)
        runs.complete(self.database, held.id, held.epoch, '"done"')

    def wait(self, id: str, **wait: Any) -> None:
        held = self.claim(id)
        new = waits.NewWait(**{"key": "w", "seq": 1, "name": "w", **wait})
        waits.suspend_on(
            self.database, held.id, held.epoch, new=[new], keys=["w"], needed=1, tolerated=None, cause="it waits"
        )


@pytest.fixture
def worker(durable: Celeriac) -> Worker:
    return Worker(durable)


@pytest.fixture
def start(run):
    """Starts a run, and returns its id."""

    def start(n: int = 1) -> str:
        (document,) = json.loads(run("trigger", "cli-runs.order", json.dumps({"n": n}), "--json").output)
        return document["id"]

    return start


def one(result) -> dict[str, Any]:
    assert 0 == result.exit_code, result.output
    (document,) = json.loads(result.output)
    return document


def test_a_run_is_paused_with_a_note_and_resumed(run, start):
    id = start()
    paused = one(run("runs", "pause", id, "--note", "a bad release", "--json"))
    assert ("cli", "a bad release") == (paused["paused_by"], paused["pause_note"])
    assert "the run is paused by cli since" in run("runs", "why", id).output
    assert one(run("runs", "resume", id, "--json"))["paused_at"] is None
    again = run("runs", "resume", id)
    assert (1, True) == (again.exit_code, "it is queued, and not paused" in again.output)


def test_a_running_run_is_terminated(run, start, worker):
    id = start()
    worker.claim(id)
    asked = one(run("runs", "cancel", id, "--terminate", "--json"))
    assert ("running", True) == (asked["status"], asked["terminate_requested_at"] is not None)
    late = run("runs", "pause", id)
    assert (1, True) == (late.exit_code, "its cancellation was asked for" in late.output)


def test_a_run_is_replayed_with_its_payload_or_another_one(run, start, worker):
    id = start()
    worker.complete(id)
    same, other = (one(run("runs", "replay", id, *more, "--json")) for more in ((), ("--payload", '{"n": 2}')))
    assert ({"n": 1}, {"n": 2}) == (same["payload"], other["payload"])
    assert {("replay", id)} == {(each["source"], each["source_id"]) for each in (same, other)}


def test_a_run_is_forked_from_a_step(run, start, worker):
    id = start()
    worker.fail(id)
    forked = one(run("runs", "fork", id, "--from", "charge", "--json"))
    shown = json.loads(run("runs", "show", forked["id"], "--json").output)
    assert (["fetch"], "fork") == ([step["key"] for step in shown["steps"]], forked["source"])
    wrong = run("runs", "fork", id, "--from", "chrage")
    assert (2, True) == (wrong.exit_code, "fork from one of fetch, charge" in wrong.output)


def test_a_failed_step_is_supplied_and_the_run_goes_on(run, start, worker):
    id = start()
    worker.fail(id)
    assert (
        "queued" == one(run("runs", "supply", id, "--step", "charge", "--value", '{"receipt": 7}', "--json"))["status"]
    )
    _, charge = json.loads(run("runs", "show", id, "--json").output)["steps"]
    assert ({"receipt": 7}, "cli") == (charge["output"], charge["supplied_by"])
    again = run("runs", "supply", id, "--step", "charge", "--value", "8")
    assert (1, True) == (again.exit_code, "needs no result" in again.output)


def test_the_attempts_of_a_run_are_listed_with_their_errors(run, start, worker):
    id = start()
    worker.fail(id)
    run("runs", "retry", id)
    worker.complete(id)
    head, first, second = run("runs", "attempts", id).output.splitlines()
    assert ["attempt", "status", "executions"] == head.split()[:3]
    assert (["1", "failed", "1"], True) == (first.split()[:3], first.endswith("no such customer"))
    assert ["2", "completed", "1"] == second.split()[:3]


def test_runs_are_listed_by_the_filters_of_the_api(run, start, worker):
    failed, queued = start(), start()
    worker.fail(failed)
    for options, expected in (
        (("--status", "failed"), [failed]),
        (("ls", "--workflow", "cli-runs.order"), [queued, failed]),
        (("--source", "api"), []),
        (("--from", "2050-01-01"), []),
        (("--parent", failed), []),
        (("ls", "status:failed", "workflow:cli-runs.*"), [failed]),
        (("ls", "created:>1h -status:failed", "--workflow", "cli-runs.order"), [queued]),
    ):
        assert expected == [each["id"] for each in json.loads(run("runs", *options, "--json").output)]
    assert [queued] == [each["id"] for each in json.loads(run("runs", "--json", "ls", "--limit", "1").output)]
    refused = run("runs", "ls", "stat:failed")
    assert (2, True) == (refused.exit_code, "did you mean 'status'" in refused.output)


def test_a_run_is_watched_until_it_ends(run, start, worker):
    id = start()
    with ThreadPoolExecutor(1) as elsewhere:
        failed = elsewhere.submit(worker.fail, id)
        watched = run("runs", "watch", id)
        failed.result()
    told = [line.split("  ", 1)[1] for line in watched.output.splitlines()]
    assert ["queued", "running", "fetch", "charge", "failed"] == [line.split()[0] for line in told]
    assert 'fetch completed in 250 ms: "Ada"' in told[2]
    assert told[4].endswith("retries are spent: no such customer")
    assert 1 == watched.exit_code


def test_a_run_that_completes_is_watched_with_exit_code_0_and_as_json_lines(run, start, worker):
    id = start()
    worker.complete(id)
    watched = run("runs", "watch", id, "--json")
    lines = [json.loads(line) for line in watched.output.splitlines()]
    assert (0, ["queued", "running", "completed"]) == (
        watched.exit_code, [line["move"]["to_status"] for line in lines]
    )  # fmt: skip


def test_many_runs_are_counted_then_retried_by_one_order(run, start, worker, durable):
    for n in range(3):
        worker.fail(start(n))
    which = ("--workflow", "cli-runs.order", "--status", "failed")
    dry = run("bulk", "retry", *which, "--dry-run")
    assert (0, "retry would be for 3 runs\n") == (dry.exit_code, dry.output)
    assert dry.output == run("bulk", "retry", "status:failed workflow:cli-*", "--dry-run").output
    assert [] == json.loads(run("bulk", "--json").output)
    ordered = json.loads(run("bulk", "retry", *which, "--json").output)
    assert ("retry", "running", 3, 0, "cli") == tuple(
        ordered[name] for name in ("action", "status", "matched", "done", "actor")
    )
    BulkService(durable).run_once()
    done = json.loads(run("bulk", "show", ordered["id"], "--json").output)
    assert ("completed", 3) == (done["status"], done["done"])
    late = run("bulk", "abort", ordered["id"])
    assert (1, True) == (late.exit_code, "it is completed already" in late.output)


def test_an_order_is_aborted(run, start):
    start()
    ordered = json.loads(run("bulk", "cancel", "--all", "--json").output)
    assert "aborted" in run("bulk", "abort", ordered["id"]).output
    assert ["id", "action", "status"] == run("bulk", "ls").output.split()[:3]


def test_an_event_starts_its_workflow_once_for_its_key(run):
    assert "is sent" in run("events", "send", "cli-runs.placed", '{"n": 5}', "--key", "evt_1").output
    assert json.loads(run("events", "send", "cli-runs.placed", "{}", "--key", "evt_1", "--json").output)["duplicate"]
    assert {"n": 5} == one(run("runs", "--source", "event", "--json"))["payload"]


def test_a_token_is_completed_once(run, start, worker):
    id, token = start(), new_id()
    worker.wait(id, kind=waits.TOKEN, token_id=token)
    done = json.loads(run("tokens", "complete", public("tok", token), '{"ok": true}', "--json").output)
    assert (id, {"ok": True}) == (done["run_id"], done["step"]["output"])
    again = run("tokens", "complete", public("tok", token))
    assert (1, True) == (again.exit_code, "the first completion counts" in again.output)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("runs", "pause"), 2, "which run?"),
        (("runs", "watch", "run_x"), 2, "not a run id"),
        (("runs", "watch", UNKNOWN), 1, "there is no run"),
        (("runs", "resume", UNKNOWN), 1, "there is no run"),
        (("runs", "replay", UNKNOWN), 1, "there is no run"),
        (("runs", "replay", UNKNOWN, "--payload", "{"), 2, "--payload is not JSON"),
        (("runs", "replay", UNKNOWN, "--payload", "[]"), 2, "a JSON object"),
        (("runs", "fork", UNKNOWN), 2, "from which step?"),
        (("runs", "fork", UNKNOWN, "--from", "x"), 1, "there is no run"),
        (("runs", "supply", UNKNOWN, "--step", "x"), 2, "--step KEY --value JSON"),
        (("runs", "supply", UNKNOWN, "--step", "x", "--value", "{"), 2, "--value is not JSON"),
        (("runs", "supply", UNKNOWN, "--step", "x", "--value", "1"), 1, "there is no run"),
        (("runs", "ls", "--from", "soon"), 2, "ISO 8601"),
        (("bulk", "cancel"), 2, "Say --all"),
        (("bulk", "retry", "--status", "completed"), 2, "not completed"),
        (("bulk", "delete"), 2, "No such command"),
        (("bulk", "show"), 2, "which order?"),
        (("bulk", "show", "blk_x"), 2, "not a blk id"),
        (("bulk", "abort", "blk_" + "0" * 32), 1, "there is no order"),
        (("events", "send", "a/b"), 2, "a/b"),
        (("events", "send", "paid", "[]"), 2, "a JSON object"),
        (("events",), 2, "send"),
        (("tokens", "complete", "tok_x"), 2, "is no token"),
        (("tokens", "complete", "tok_x", "1", "--error", "no"), 2, "Give one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_to_do(run, arguments, exit_code, told):
    refused = run(*arguments)
    assert told in refused.output
    assert exit_code == refused.exit_code


def test_the_trace_of_a_run_is_a_tree_of_its_spans(run, durable, worker):
    id = order.delay().id
    worker.fail(id)
    lines = run("runs", "trace", id).stdout.splitlines()
    assert lines[0].startswith("trace ")
    for name in ("trigger cli-runs.order", "run cli-runs.order", "queued", "attempt 1", "step charge"):
        assert any(name in line for line in lines), name
    assert any("no such customer" in line for line in lines)
    told = json.loads(run("runs", "trace", id, "--json").stdout)
    assert lines[0] == f"trace {told['trace_id']}"
    assert 1 == run("runs", "trace", UNKNOWN).exit_code
