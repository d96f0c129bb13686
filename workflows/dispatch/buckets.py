"""Ready queues and concurrency buckets, in Redis: a shadow of Postgres that may vanish at any time.

A run that is queued is offered as a *ticket*: its id, the epoch it was queued at, its concurrency key and its workflow.
A ticket stands in the line of its key, or it holds a slot. Because it names the epoch, a late ticket of an earlier life
of the run is recognised everywhere.

Each server tells its run id when a connection is made. That is the *generation*: limits that were set under another one
are not believed, since a server that was restarted, or a replica that was promoted, may know an older state.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote
from uuid import UUID

import redis

from ...state.lines import QueuedRow
from ...state.runs import RunRow
from ..queue import Limits

REST_SECONDS = 0.5  # after Redis failed to answer it is not asked again for so long: a trigger does not wait for it
PAGE = 100  # queues that are asked about in one round trip
SOON_SECONDS = 0.02  # between the first two looks at a run by one who waits for its end
ADMIT_LIMIT = 2000  # tickets that one call admits at most, see admit.lua
LOST = "lost"  # what a listener hears when the connection to Redis is gone
NUDGES = "celeriac:nudge"  # channel on which beat is told that there is something to do


class RedisUnavailable(Exception):
    """Redis does not answer. Nothing is lost: beat offers what is queued when it is back."""


class Ticket(NamedTuple):
    """A queued run as Redis knows it."""

    run_id: UUID
    epoch: int
    key: str
    workflow: str
    delivery: str = ""  # how its message is sent, where that is not as usual

    @classmethod
    def of(cls, run: "RunRow | QueuedRow") -> "Ticket":
        return cls(run.id, run.epoch, run.concurrency_key, run.workflow, run.delivery)

    @classmethod
    def held_by(cls, run: "RunRow | QueuedRow") -> "Ticket":
        """The ticket that a run was claimed on last: the claim raised its epoch by one."""
        return cls(run.id, run.epoch - 1, run.concurrency_key, run.workflow, run.delivery)

    @classmethod
    def parse(cls, text: str) -> "Ticket":
        run_id, epoch, key, rest = text.split(":", 3)
        workflow, _, delivery = rest.partition("?")
        return cls(UUID(run_id), int(epoch), unquote(key), workflow, delivery)

    def __str__(self) -> str:
        told = f"{self.run_id.hex}:{self.epoch}:{quote(self.key, safe='')}:{self.workflow}"
        return f"{told}?{self.delivery}" if self.delivery else told


@dataclass(frozen=True, slots=True)
class Bucket:
    """What Redis is to know of a queue. `window`: tickets that may be out at once, for the slots that workers offer."""

    limits: Limits
    window: int
    is_paused: bool = False

    @property
    def slots(self) -> int:
        concurrency = self.limits.concurrency
        return self.window if concurrency is None else min(concurrency, self.window)

    def fields(self) -> dict[str, str]:
        """As `configure.lua` has them. `digest` tells two apart."""
        rate, key_rate, weights = self.limits.rate_of_queue, self.limits.rate_of_key, self.limits.weights or {}
        told: dict[str, Any] = {
            "slots": self.slots,
            "window": self.window,
            "per_key": self.limits.per_key,
            "interval_ms": rate and rate.interval_ms,
            "burst": rate and rate.burst,
            "key_interval_ms": key_rate and key_rate.interval_ms,
            "key_burst": key_rate and key_rate.burst,
            "paused": "1" if self.is_paused else None,
        } | {f"weight:{quote(key, safe='')}": weight for key, weight in weights.items()}
        fields = {name: str(value) for name, value in told.items() if value is not None}
        return fields | {"digest": hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]}


class Holding(NamedTuple):
    """What Redis knows of a queue: limits and window, how many tickets wait, and who holds a slot since how many ms."""

    digest: str
    window: int
    waiting: int
    slots: list[tuple[Ticket, int]]

    @classmethod
    def of(cls, answer: list[Any] | None) -> "Holding | None":
        if answer is None:
            return None
        digest, window, waiting, *flat = answer
        return cls(digest, window, waiting, list(zip(map(Ticket.parse, flat[::2]), flat[1::2], strict=True)))


class Admission(NamedTuple):
    """Who got a slot, and in how many seconds a rate allows the next; None: when something comes free."""

    tickets: list[Ticket]
    wait_seconds: float | None


class PassedOn(NamedTuple):
    """Who got the slot of a run whose code has ended, and whether somebody waits for its end."""

    tickets: list[Ticket]
    is_awaited: bool


Hear = Callable[[float], str]  # waits for so many seconds at most; what came, LOST, or ''


class Connect(Protocol):
    """Makes a client that tells the run id of the server whenever it has connected: `connection.connect`."""

    def __call__(self, on_connect: Callable[[str], None]) -> "redis.Redis": ...


class Buckets:
    """The scripts under lua/, as methods. Each raises RedisUnavailable; `None` means: restore the queue first."""

    def __init__(self, connect: Connect, now_ms: Callable[[], int] | None = None):
        self._generation = ""
        self._redis = connect(on_connect=self._learn_generation)
        self._now_ms = now_ms
        self._resting_until = 0.0
        self._offer = self._script("offer")
        self._release = self._script("release")
        self._pass_on = self._script("pass_on")
        self._pace = self._script("pace")
        self._configure = self._script("configure")
        self._holding = self._script("holding")
        self._touch = self._script("touch")
        self._why = self._script("why")
        self._take = self._redis.register_script(files(__package__).joinpath("lua", "limit.lua").read_text())

    def offer(self, queue: str, runs: "Sequence[RunRow | QueuedRow]", admits: bool = True) -> list[Ticket] | None:
        """Puts queued runs in their lines, and returns the tickets that got a slot."""
        arguments: list[str | float] = ["1" if admits else "0"]
        for run in runs:
            arguments += [score_ms(run), "1" if run.is_begun else "0", str(Ticket.of(run))]
        return _tickets(self._call(self._offer, queue, arguments))

    def release(self, queue: str, tickets: Sequence[Ticket], ended: UUID | None = None) -> list[Ticket] | None:
        """Frees the slots of tickets, tells those who wait for the run `ended`, and returns who got a slot."""
        channel = _channel(ended) if ended else ""
        return _tickets(self._call(self._release, queue, [channel, *map(str, tickets)]))

    def pass_on(self, queue: str, ticket: Ticket) -> PassedOn | None:
        """Frees the slot of a run whose code has ended, before that is written down: `tell_end` says it when it is."""
        answer = self._call(self._pass_on, queue, [_channel(ticket.run_id), str(ticket)])
        return PassedOn(_tickets(answer[1:]) or [], answer[0] == "1") if answer else None

    def tell_end(self, run_id: UUID) -> None:
        """Tells those who wait for this run that it has ended. They look at its row anyway, so this never raises."""
        with suppress(RedisUnavailable), self._awake():
            self._redis.publish(_channel(run_id), "ended")

    def admit(self, queue: str) -> list[Ticket] | None:
        """Admits what has a slot by now."""
        return self.offer(queue, ())

    def pace(self, queue: str) -> Admission | None:
        """The same, and when there is more to admit."""
        answer = self._call(self._pace, queue, [])
        if answer is None:
            return None
        return Admission(_tickets(answer) or [], None if answer[0] < 0 else answer[0] / 1000)

    def configure(self, queue: str, bucket: Bucket) -> list[Ticket] | None:
        """Sets what holds for a queue, and returns who got a slot by it."""
        return _tickets(self._call(self._configure, queue, ["change", *_flat(bucket)]))

    def restore(self, queue: str, bucket: Bucket, running: Sequence[Ticket], is_loss: bool) -> list[Ticket]:
        """Makes a queue known to a Redis that does not know it: tickets of running runs hold their slots."""
        arguments = ["loss" if is_loss else "first", *_flat(bucket), *map(str, running)]
        return _tickets(self._call(self._configure, queue, arguments)) or []

    def holding(self, queue: str, counts_anew: bool = False) -> Holding | None:
        """Who waits and who holds a slot. `counts_anew`: key by key, in case something but a script removed tickets."""
        return Holding.of(self._call(self._holding, queue, ["1" if counts_anew else "0"]))

    def holdings(self, queues: Sequence[str], counts_anew: bool = False) -> dict[str, Holding | None]:
        """The same of many queues, PAGE of them in one round trip."""
        found: dict[str, Holding | None] = {}
        for start in range(0, len(queues), PAGE):
            page = queues[start : start + PAGE]
            answers = self._call_each(self._holding, page, ["1" if counts_anew else "0"])
            found |= zip(page, map(Holding.of, answers), strict=True)
        return found

    def touch(self, queue: str, tickets: Sequence[Ticket]) -> None:
        """Remembers that these tickets are published again now."""
        self._call(self._touch, queue, list(map(str, tickets)))

    def why(self, queue: str, ticket: Ticket) -> dict[str, Any] | None:
        """What stands between a ticket and its slot, in the words of why.lua."""
        answer = self._call(self._why, queue, [str(ticket)])
        return None if answer is None else dict(json.loads(answer))

    def take(self, who: str, interval_ms: float, burst: int) -> tuple[int, int, int, int]:
        """One more request of somebody, in the numbers of limit.lua."""
        with self._awake():
            allowed, remaining, wait_ms, reset_ms = self._take([f"celeriac:limit:{who}"], [interval_ms, burst])
            return allowed, remaining, wait_ms, reset_ms

    @contextmanager
    def listen(self, run_id: UUID) -> Iterator[Hear]:
        """Within: a function that returns when the run has ended, or after so many seconds. The first time it returns
        soon: a run whose end was just being written down tells nobody who came meanwhile."""
        with self._subscribed(_channel(run_id)) as hear:
            at_most = chain([SOON_SECONDS], repeat(math.inf))
            yield lambda seconds: hear(min(seconds, next(at_most)))

    def nudges(self) -> AbstractContextManager[Hear]:
        """Within: a function that returns the name of a service of beat when it is nudged, or '' after a time."""
        return self._subscribed(NUDGES)

    def nudge(self, service: str) -> None:
        """Tells beat that there is something to do for a service. A hint: it may be lost, and never raises."""
        if time.monotonic() < self._resting_until:
            return
        try:
            with _translated():
                self._redis.publish(NUDGES, service)
        except RedisUnavailable:
            self._resting_until = time.monotonic() + REST_SECONDS

    def ping(self) -> None:
        """Raises RedisUnavailable."""
        with _translated():
            self._redis.ping()

    def now(self) -> datetime:
        """The time by the clock of Redis. Raises RedisUnavailable."""
        with _translated():
            seconds, microseconds = self._redis.time()
        return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)

    def close(self) -> None:
        self._redis.close()

    def _learn_generation(self, run_id: str) -> None:
        self._generation = run_id or "unnamed"

    @contextmanager
    def _subscribed(self, channel: str) -> Iterator[Hear]:
        pubsub: Any = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        try:
            with _translated():
                pubsub.subscribe(channel)
                pubsub.get_message(timeout=1)
        except RedisUnavailable:
            yield _deaf
            return
        try:
            yield lambda seconds: _heard(pubsub, seconds)
        finally:
            pubsub.close()

    def _script(self, name: str) -> Any:
        lua = files(__package__).joinpath("lua")
        parts = ("lines.lua", "rate.lua", "admit.lua", f"{name}.lua")
        return self._redis.register_script("\n".join(lua.joinpath(part).read_text() for part in parts))

    def _call(self, script: Any, queue: str, arguments: Sequence[str | float | int]) -> Any:
        return self._call_each(script, [queue], arguments)[0]

    def _call_each(self, script: Any, queues: Sequence[str], arguments: Sequence[str | float | int]) -> list[Any]:
        """What the script answers of each queue; None: the queue is to be restored first."""
        with self._awake():
            if not self._generation:
                self._redis.ping()  # connects, and so learns it
            generation, clock = self._generation, self._now_ms() if self._now_ms else ""
            asked = [{"keys": [f"celeriac:{{{queue}}}"], "args": [generation, clock, *arguments]} for queue in queues]
            if len(asked) == 1:
                answers = [script(**asked[0])]
            else:
                pipeline = self._redis.pipeline(transaction=False)
                for each in asked:
                    script(**each, client=pipeline)
                answers = pipeline.execute()
            # It connected anew while it asked: what the server believed may have been out of date.
            return answers if generation == self._generation else [None] * len(asked)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        if time.monotonic() < self._resting_until:
            raise RedisUnavailable(f"Redis did not answer within the last {REST_SECONDS:g} s")
        try:
            with _translated():
                yield
        except RedisUnavailable:
            self._resting_until = time.monotonic() + REST_SECONDS
            raise


def score_ms(run: "RunRow | QueuedRow") -> float:
    """Its place in its line: when it was queued, minus its head start. Older runs age past newer ones. Not rounded: the
    claim in Postgres compares microseconds, and refuses one that would overtake another."""
    assert run.queued_at is not None, f"run {run.id} is {run.status}, not queued"
    return (run.queued_at.timestamp() - run.priority) * 1000


def _flat(bucket: Bucket) -> list[str]:
    fields = bucket.fields()
    return [str(len(fields)), *(part for pair in fields.items() for part in pair)]


def _channel(run_id: UUID) -> str:
    return f"celeriac:ended:{run_id.hex}"


def _tickets(answer: list[Any] | None) -> list[Ticket] | None:
    return None if answer is None else [Ticket.parse(text) for text in answer[1:]]


def _deaf(seconds: float) -> str:
    time.sleep(seconds)  # who listens looks at the rows anyway
    return LOST


def _heard(pubsub: Any, seconds: float) -> str:
    try:
        message = pubsub.get_message(timeout=seconds)
    except redis.RedisError:
        return _deaf(seconds)
    return str(message["data"]) if message else ""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise RedisUnavailable(f"Redis does not answer: {error}") from error
