"""Ready queues and concurrency buckets, in Redis: a shadow of Postgres that may vanish at any time.

A run that is queued is offered as a *ticket*: its id, the epoch it was queued at, and its workflow. A ticket is ready,
or it holds a slot. Because it names the epoch, a late ticket of an earlier life of the run is recognised everywhere.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as RedisRetry

from ..state.runs import RunRow

REST_SECONDS = 0.5  # after Redis failed to answer it is not asked again for so long: a trigger does not wait for it


class RedisUnavailable(Exception):
    """Redis does not answer. Nothing is lost: beat offers what is queued when it is back."""


class Ticket(NamedTuple):
    """A queued run as Redis knows it."""

    run_id: UUID
    epoch: int
    workflow: str

    @classmethod
    def of(cls, run: RunRow) -> "Ticket":
        return cls(run.id, run.epoch, run.workflow)

    @classmethod
    def held_by(cls, run: RunRow) -> "Ticket":
        """The ticket that a run was claimed on last: the claim raised its epoch by one."""
        return cls(run.id, run.epoch - 1, run.workflow)

    @classmethod
    def parse(cls, text: str) -> "Ticket":
        run_id, epoch, workflow = text.split(":", 2)
        return cls(UUID(run_id), int(epoch), workflow)

    def __str__(self) -> str:
        return f"{self.run_id.hex}:{self.epoch}:{self.workflow}"


class Holding(NamedTuple):
    """What Redis knows of a queue: its limit, how many tickets are ready, and who holds a slot since how many ms."""

    limit: int
    ready: int
    slots: list[tuple[Ticket, int]]


class Buckets:
    """The scripts under lua/, as methods. Each raises RedisUnavailable; `None` means: configure the queue first."""

    def __init__(self, url: str, timeout_seconds: float):
        self._redis = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=RedisRetry(NoBackoff(), 1),  # once: a connection that idled may have been closed by the server
            health_check_interval=30,
        )
        self._resting_until = 0.0
        self._offer = self._script("offer")
        self._release = self._script("release")
        self._configure = self._script("configure")
        self._holding = self._script("holding")
        self._touch = self._script("touch")

    def offer(self, queue: str, runs: Sequence[RunRow]) -> list[Ticket] | None:
        """Puts queued runs in the ready queue, and returns the tickets that got a slot."""
        arguments: list[str | float] = []
        for run in runs:
            arguments += [score_ms(run), str(Ticket.of(run))]
        return _tickets(self._call(self._offer, queue, arguments))

    def release(self, queue: str, tickets: Sequence[Ticket], ended: UUID | None = None) -> list[Ticket] | None:
        """Frees the slots of tickets, tells those who wait for the run `ended`, and returns who got a slot."""
        channel = _channel(ended) if ended else ""
        return _tickets(self._call(self._release, queue, [channel, *map(str, tickets)]))

    def configure(self, queue: str, slots: int, running: Sequence[Ticket]) -> list[Ticket]:
        """Sets how many tickets may hold a slot; those of running runs do."""
        return _tickets(self._call(self._configure, queue, [slots, *map(str, running)])) or []

    def holding(self, queue: str) -> Holding | None:
        """Who is ready and who holds a slot."""
        answer = self._call(self._holding, queue, [])
        if answer is None:
            return None
        limit, ready, *flat = answer
        return Holding(limit, ready, list(zip(map(Ticket.parse, flat[::2]), flat[1::2], strict=True)))

    def touch(self, queue: str, tickets: Sequence[Ticket]) -> None:
        """Remembers that these tickets are published again now."""
        self._call(self._touch, queue, list(map(str, tickets)))

    @contextmanager
    def listen(self, run_id: UUID) -> Iterator[Callable[[float], None]]:
        """Within: a function that returns when the run has ended, or after so many seconds."""
        pubsub: Any = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        try:
            with _translated():
                pubsub.subscribe(_channel(run_id))
                pubsub.get_message(timeout=1)
        except RedisUnavailable:
            yield time.sleep
            return
        try:
            yield lambda seconds: _wait(pubsub, seconds)
        finally:
            pubsub.close()

    def ping(self) -> None:
        """Raises RedisUnavailable."""
        with _translated():
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _script(self, name: str) -> Any:
        lua = files(__package__).joinpath("lua")
        return self._redis.register_script(
            lua.joinpath("admit.lua").read_text() + "\n" + lua.joinpath(f"{name}.lua").read_text()
        )

    def _call(self, script: Any, queue: str, arguments: Sequence[str | float | int]) -> Any:
        if time.monotonic() < self._resting_until:
            raise RedisUnavailable(f"Redis did not answer within the last {REST_SECONDS:g} s")
        prefix = f"celeriac:{{{queue}}}"
        try:
            with _translated():
                return script(keys=[f"{prefix}:ready", f"{prefix}:slots", f"{prefix}:limits"], args=arguments)
        except RedisUnavailable:
            self._resting_until = time.monotonic() + REST_SECONDS
            raise


def score_ms(run: RunRow) -> float:
    """Its place in the ready queue: when it was queued, minus its head start. Older runs age past newer ones."""
    assert run.queued_at is not None, f"run {run.id} is {run.status}, not queued"
    return round(run.queued_at.timestamp() * 1000) - run.priority * 1000


def _channel(run_id: UUID) -> str:
    return f"celeriac:ended:{run_id.hex}"


def _tickets(answer: list[str] | None) -> list[Ticket] | None:
    return None if answer is None else [Ticket.parse(text) for text in answer]


def _wait(pubsub: Any, seconds: float) -> None:
    try:
        pubsub.get_message(timeout=seconds)
    except redis.RedisError:
        time.sleep(seconds)  # the caller looks at the row anyway


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise RedisUnavailable(f"Redis does not answer: {error}") from error
