"""A queue: the name under which runs wait, and the buckets that limit how many start, and how many run at once."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import UsageError

RATE = re.compile(r"\s*(\d{1,9})\s*/\s*([a-z]+)\s*")
PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds
SHORTEST_TURN_SECONDS = 0.1  # starts that a rate allows within so short a time may come together
LARGEST = 1_000_000
KEY_LIMIT = 200  # characters of a concurrency key
WHEN_FULL = ("queue", "reject", "cancel_running")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts in so many seconds, `burst` of them at once. Made from `"100/m"` by `Rate.parse`."""

    limit: int
    period_seconds: int
    burst: int

    @property
    def interval_ms(self) -> float:
        return self.period_seconds * 1000 / self.limit

    @classmethod
    def parse(cls, text: str, burst: int | None = None) -> "Rate":
        """Raises UsageError for what is no rate. Without a burst starts are spread evenly, as Celery's rate_limit."""
        found = RATE.fullmatch(text) if isinstance(text, str) else None
        if found is None or found[2] not in PERIODS:
            raise UsageError(f'rate {text!r}: write starts per time, as "5/s", "100/m", "1000/h" or "5000/d"')
        limit, period_seconds = int(found[1]), PERIODS[found[2]]
        if not 1 <= limit <= LARGEST:
            raise UsageError(f"rate {text!r}: 1 to {LARGEST:,} starts; to start nothing, pause the queue")
        return cls(limit, period_seconds, burst or max(1, math.ceil(limit / period_seconds * SHORTEST_TURN_SECONDS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for a queue. None is no limit. The members are those of `Queue`, and of an override."""

    concurrency: int | None = None
    per_key: int | None = None
    rate: str | None = None
    burst: int | None = None
    key_rate: str | None = None
    key_burst: int | None = None
    max_queued: int | None = None
    weights: Mapping[str, float] | None = field(default=None, hash=False)

    @property
    def rate_of_queue(self) -> Rate | None:
        return Rate.parse(self.rate, self.burst) if self.rate else None

    @property
    def rate_of_key(self) -> Rate | None:
        return Rate.parse(self.key_rate, self.key_burst) if self.key_rate else None

    def document(self) -> dict[str, Any]:
        """The members that limit something."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Limits":
        """As a row has them. What this version of the code does not know is left out."""
        return cls(**{name: document[name] for name in MEMBERS if name in document})

    @classmethod
    def checked(cls, document: Mapping[str, Any]) -> "Limits":
        """As a person gave them. Raises UsageError for a name that is no limit, and for values that cannot be."""
        for name in document:
            if name not in MEMBERS:
                near = difflib.get_close_matches(name, MEMBERS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(MEMBERS)}"
                raise UsageError(f"{name!r} is no limit of a queue: {hint}")
        limits = cls(**document)
        for name in ("concurrency", "per_key", "burst", "key_burst", "max_queued"):
            _check_count(name, getattr(limits, name))
        for rate in (limits.rate, limits.key_rate):
            if rate is not None:
                Rate.parse(rate)
        _check_weights(limits.weights)
        return limits


MEMBERS = tuple(member.name for member in fields(Limits))


@dataclass(frozen=True, slots=True)
class Queue:
    """`Queue("crm", concurrency=10)`: at most ten runs at once, over all workers. Several workflows may share one.

    - name: how it is called in the CLI, the API and the page.
    - concurrency: runs that hold a slot at once; None (default) is as many as the workers have.
    - per_key: the same for each concurrency key. Runs without a key share one, the empty key.
    - rate: starts per time, `"100/m"` (s, m, h, d). An attempt counts when it starts, not when it goes on after a wait.
    - burst: starts that may come at once after a quiet time. Default: spread evenly, as Celery's rate_limit.
    - key_rate, key_burst: the same for each concurrency key.
    - max_queued: runs that may wait; a trigger beyond that raises QueueFull. Default: no cap.
    - weights: how many turns a key gets while another gets one, `{"acme": 3}`. Default 1 for every key.
    - when_full: what a trigger does whose key has as many live runs as `per_key` allows (without per_key: as
      `concurrency` allows): "queue" (default), "reject" (raises KeyFull), "cancel_running" (cancels the oldest).

    A workflow without a queue has one of its own, named as the workflow. Limits can be changed at run time, see
    `Celeriac.queue`. Raises UsageError for values that cannot be.
    """

    name: str
    concurrency: int | None = None
    per_key: int | None = None
    rate: str | None = None
    burst: int | None = None
    key_rate: str | None = None
    key_burst: int | None = None
    max_queued: int | None = None
    weights: Mapping[str, float] | None = field(default=None, hash=False)
    when_full: str = "queue"

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 200 or any(c in self.name for c in "{}:") or not self.name.isprintable():
            raise UsageError(f"Queue({self.name!r}): a name is 1 to 200 printable characters, without {{ }} and :")
        try:
            Limits.checked({name: getattr(self, name) for name in MEMBERS})
        except UsageError as error:
            raise UsageError(f"Queue({self.name!r}): {error}") from None
        for rate, burst in (("rate", "burst"), ("key_rate", "key_burst")):
            if getattr(self, burst) is not None and getattr(self, rate) is None:
                raise UsageError(f"Queue({self.name!r}): {burst}={getattr(self, burst)} says nothing without {rate}")
        if self.when_full not in WHEN_FULL:
            raise UsageError(f"Queue({self.name!r}, when_full={self.when_full!r}): known are {', '.join(WHEN_FULL)}")
        if self.when_full != "queue" and self.key_limit is None:
            raise UsageError(f"Queue({self.name!r}, when_full={self.when_full!r}): say with per_key when a key is full")

    def __repr__(self) -> str:
        said = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "name"}
        given = [f"{name}={value!r}" for name, value in said.items() if value not in (None, "queue")]
        return f"Queue({', '.join([repr(self.name), *given])})"

    @property
    def limits(self) -> Limits:
        return Limits(**{name: getattr(self, name) for name in MEMBERS})

    @property
    def key_limit(self) -> int | None:
        """How many live runs make a key full."""
        return self.per_key or self.concurrency


def _check_count(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name}={value!r} should be a whole number")
    if not 1 <= value <= LARGEST:
        raise UsageError(f"{name}={value}: it takes at least 1, at most {LARGEST:,}; to start nothing, pause the queue")


def _check_weights(weights: Any) -> None:
    if weights is None:
        return
    if not isinstance(weights, Mapping):
        raise UsageError(f'weights={weights!r} should be an object, as {{"acme": 3}}')
    for key, weight in weights.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not isinstance(key, str) or not is_number or not 0.001 <= weight <= 1000:
            raise UsageError(f"weights: {key!r}: {weight!r} should be a key and a number from 0.001 to 1000")
