"""Why a run does not run: the gates between it and a worker, in their order, with the numbers of this moment."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...state import queues, status, steps, workers
from ...state.database import Row
from ...state.ids import public
from ...state.queues import QueueRow
from ...state.runs import RunRow
from ..dispatch.buckets import RedisUnavailable, Ticket
from ..queue import Limits

if TYPE_CHECKING:
    from ..application import Celeriac


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition. A closed one holds the run back; `detail` says so in words, `values` in numbers."""

    name: str
    is_open: bool
    detail: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Why:
    """The answer for one run. `summary` is the first gate that is closed."""

    run_id: str
    status: str
    gates: tuple[Gate, ...]

    @property
    def summary(self) -> str:
        closed = next((gate for gate in self.gates if not gate.is_open), None)
        if closed is not None:
            return closed.detail
        return f"it has ended: {self.status}" if self.status in status.FINAL else "nothing holds it back"


def explain(durable: "Celeriac", run: RunRow) -> Why:
    """The gates of a run. Raises StateUnavailable."""
    if run.is_final:
        gates: list[Gate] = []
    elif run.status == status.RUNNING:
        gates = [_running(durable, run)]
    else:
        gates = _before_a_start(durable, run)
    return Why(public("run", run.id), run.status, tuple(gates))


def _before_a_start(durable: "Celeriac", run: RunRow) -> list[Gate]:
    database, deaf_seconds = durable.database, durable.settings.deaf_seconds
    queue = queues.get(database, run.queue, deaf_seconds)
    alive = [each for each in workers.alive(database) if run.workflow in each["workflows"]]
    gates = [_time(durable, run)] if run.status in (status.DELAYED, status.WAITING) else []
    gates += [_ending(run)] if run.cancel_requested_at is not None or run.verdict is not None else []
    gates += [_run_paused(run)] if run.paused_at is not None else []
    gates += [_paused(run, queue), _worker(run, alive)]
    if run.status == status.QUEUED and queue is not None:
        gates += _redis(durable, run, queue)
    return gates


def _running(durable: "Celeriac", run: RunRow) -> Gate:
    holder = next((each for each in workers.alive(durable.database) if each["id"] == run.worker_id), None)
    name = holder["name"] if holder else "a worker that is lost: beat queues it again"
    asked = ", and ends at its next step: its cancellation was asked for" if run.cancel_requested_at else ""
    asked = asked or (", and stops before its next step: it is paused" if run.paused_at else "")
    return Gate(
        "running", True, f"it runs at {name}, since {_told(run.claimed_at)}{asked}", {"since": _iso(run.claimed_at)}
    )


def _time(durable: "Celeriac", run: RunRow) -> Gate:
    values = {"until": _iso(run.run_at)}
    if run.status == status.DELAYED:
        return Gate("delayed", False, f"it is delayed until {_told(run.run_at)}: {run.cause}", values)
    open_steps = [step for step in steps.of_run(durable.database, run.id) if step.finished_at is None]
    waits = ", ".join(f"{step.kind} {step.key!r}" for step in open_steps) or run.cause
    until = f" until {_told(run.run_at)}" if run.run_at else ""
    return Gate("waiting", False, f"it waits{until}: {waits}", values | {"for": [step.key for step in open_steps]})


def _ending(run: RunRow) -> Gate:
    end = json.loads(run.verdict)["status"] if run.verdict else status.CANCELLED
    told = f"it is to end as {end}: its code is executed up to where it stood, so that it cleans up"
    return Gate("ending", True, told, {"status": end})


def _run_paused(run: RunRow) -> Gate:
    by = f" by {run.paused_by}" if run.paused_by else ""
    note = f": {run.pause_note}" if run.pause_note else ""
    values = {"since": _iso(run.paused_at), "by": run.paused_by}
    return Gate("run_paused", False, f"the run is paused{by} since {_told(run.paused_at)}{note}", values)


def _paused(run: RunRow, queue: QueueRow | None) -> Gate:
    if queue is None:
        return Gate("paused", False, f"no worker has declared queue {run.queue!r} yet")
    if queue.paused_at is None:
        return Gate("paused", True, f"queue {queue.name!r} is not paused")
    by = f" by {queue.paused_by}" if queue.paused_by else ""
    note = f": {queue.pause_note}" if queue.pause_note else ""
    told = f"queue {queue.name!r} is paused{by} since {_told(queue.paused_at)}{note}"
    return Gate("paused", False, told, {"since": _iso(queue.paused_at), "by": queue.paused_by})


def _worker(run: RunRow, alive: list[Row]) -> Gate:
    slots = sum(each["slots"] for each in alive)
    values = {"workers": len(alive), "slots": slots, "busy": sum(each["busy"] for each in alive)}
    if not alive:
        return Gate("worker", False, f"no live worker can execute {run.workflow!r}: start one with its code", values)
    if slots == 0:
        return Gate("worker", False, f"every worker that can execute {run.workflow!r} shuts down", values)
    return Gate("worker", True, f"{counted(len(alive), 'worker')} with {counted(slots, 'slot')} can execute it", values)


def _redis(durable: "Celeriac", run: RunRow, queue: QueueRow) -> list[Gate]:
    try:
        known = durable.buckets.why(run.queue, Ticket.of(run))
    except RedisUnavailable as error:
        return [Gate("redis", False, f"{error}; it stands in line when Redis is back")]
    if known is None:
        return [Gate("redis", False, "Redis does not know its queue (it was lost): beat restores it in seconds")]
    if known["admitted_ms"] is not None:
        since_seconds = known["admitted_ms"] / 1000
        told = f"it has a slot since {since_seconds:.1f} s, and waits for a free process of a worker"
        return [Gate("message", False, told, {"admitted_seconds": since_seconds})]
    if known["place"] is None:
        return [Gate("redis", False, "Redis does not know it yet: beat offers it in seconds")]
    return [*_slots(run, queue, known), *_rates(run, queue, known), _turn(known)]


def _slots(run: RunRow, queue: QueueRow, known: dict[str, Any]) -> list[Gate]:
    limits, held, slots = Limits.of(queue.limits), known["held"], known["slots"]
    whose = "its concurrency" if limits.concurrency == slots else "what the workers can take"
    gates = [Gate(
        "queue", held < slots, f"{held} of {slots} slots of queue {queue.name!r} are held ({whose})",
        {"held": held, "slots": slots, "concurrency": limits.concurrency},
    )]  # fmt: skip
    if limits.per_key is not None:
        key_held = known["key_held"]
        told = f"{key_held} of {limits.per_key} slots of key {run.concurrency_key!r} are held"
        values = {"key": run.concurrency_key or None, "held": key_held, "slots": limits.per_key}
        gates.append(Gate("key", key_held < limits.per_key, told, values))
    return gates


def _rates(run: RunRow, queue: QueueRow, known: dict[str, Any]) -> list[Gate]:
    limits, gates = Limits.of(queue.limits), []
    for name, rate, wait_ms in (("rate", limits.rate, "wait_ms"), ("key_rate", limits.key_rate, "key_wait_ms")):
        if rate is not None:
            seconds = known[wait_ms] / 1000
            whose = f"key {run.concurrency_key!r}" if name == "key_rate" else f"queue {queue.name!r}"
            told = f"the rate {rate} of {whose} allows the next start" + (f" in {seconds:.1f} s" if seconds else " now")
            gates.append(Gate(name, not seconds, told, {"rate": rate, "wait_seconds": seconds}))
    return gates


def _turn(known: dict[str, Any]) -> Gate:
    place, keys = known["place"], known["keys_before"]
    told = f"{counted(place, 'run')} of its line before it, and {counted(keys, 'other line')} with an earlier turn"
    return Gate("turn", place == 0 and keys == 0, told, {"place": place, "keys_before": keys})


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _told(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
