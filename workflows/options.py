"""What can be said when a run is started, checked before anything is stored."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from .errors import UsageError
from .queue import KEY_LIMIT

SECONDS_LIMIT = 100 * 366 * 86_400.0  # a hundred years
INTEGER_LIMIT = 1_000_000_000
LAST_YEAR = 9000  # a ttl later than that would lead to where datetime ends
SCOPES = ("workflow", "key", "global")  # of an idempotency key


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be said when a run is started, in Celery's words where Celery has them."""

    countdown: float | None = None  # seconds from now until it may start
    eta: datetime | None = None  # or the moment, aware (naive: UTC, as in Celery)
    expires: float | datetime | None = None  # a moment, or seconds after it may start: after that it never does
    priority: int | None = None  # seconds of head start in its queue
    queue: str | None = None  # instead of the workflow's own
    concurrency_key: str | None = None  # whose turn it is in its queue, and what `per_key` and `key_rate` limit
    idempotency_key: str | None = None  # of several triggers with one key, one starts a run; the others return it
    idempotency_ttl: float | None = None  # seconds for which the key is remembered; default 30 days
    idempotency_scope: str = "workflow"  # within which it is unique: "workflow", "key" (and concurrency key), "global"
    debounce: Mapping[str, Any] | None = None  # see Debounce
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    max_attempts: int | None = None  # instead of the workflow's own
    callback_url: str | None = None  # where its end is told, as a signed webhook

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Options":
        """Raises UsageError for a name that is no option, and for values that cannot be."""
        known = [option.name for option in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise UsageError(f"{name!r} is no option of a trigger: {hint}")
        options = cls(**given)
        options._check()
        return options

    @property
    def expires_at(self) -> datetime | None:
        """The moment of expiry, aware, where it was given as one."""
        return _aware(self.expires) if isinstance(self.expires, datetime) else None

    @property
    def moment(self) -> datetime | None:
        """The eta, aware."""
        return _aware(self.eta) if self.eta else None

    def _check(self) -> None:
        _check_kind("eta", self.eta, (datetime,))
        _check_kind("metadata", self.metadata, (Mapping,))
        _check_kind("debounce", self.debounce, (Mapping,))
        _check_kind("queue", self.queue, (str,))
        _check_kind("callback_url", self.callback_url, (str,))
        _check_number("countdown", self.countdown, -SECONDS_LIMIT, SECONDS_LIMIT)
        _check_number("idempotency_ttl", self.idempotency_ttl, 0, SECONDS_LIMIT)
        if not isinstance(self.expires, datetime):
            _check_number("expires", self.expires, 0, SECONDS_LIMIT)
        _check_whole("priority", self.priority, -INTEGER_LIMIT, INTEGER_LIMIT)
        _check_whole("max_attempts", self.max_attempts, 1, INTEGER_LIMIT)
        for name in ("eta", "expires"):
            if isinstance(moment := getattr(self, name), datetime) and moment.year >= LAST_YEAR:
                raise UsageError(
                    f"{name}={moment.isoformat()} is too far away: give a moment before the year {LAST_YEAR}"
                )
        if self.countdown is not None and self.eta is not None:
            raise UsageError("countdown and eta are two ways to say one thing: give one of them")
        if not isinstance(self.tags, list | tuple) or not all(is_word(tag, 200) for tag in self.tags):
            raise UsageError("tags: give a list of strings of 1 to 200 printable characters")
        if self.idempotency_key is not None and not is_word(self.idempotency_key, 500):
            raise UsageError("idempotency_key: give 1 to 500 printable characters")
        if self.idempotency_scope not in SCOPES:
            raise UsageError(f"idempotency_scope={self.idempotency_scope!r}: known are {', '.join(SCOPES)}")
        if self.concurrency_key is not None and not is_word(self.concurrency_key, KEY_LIMIT):
            raise UsageError(f"concurrency_key: give 1 to {KEY_LIMIT} printable characters")
        if self.debounce is not None:
            Debounce.of(self.debounce)
            for other in ("countdown", "eta", "idempotency_key"):
                if getattr(self, other) is not None:
                    raise UsageError(f"debounce and {other} contradict each other: give one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """Of many triggers with one key, one run: `debounce={"key": "c1", "delay": 5}`.

    trailing (default): it starts when no trigger came for `delay` seconds, with the payload of the last one. leading:
    the first trigger starts it at once, those that follow within `delay` seconds return it. Neither is put off for
    longer than `max_delay` seconds after the first trigger.
    """

    key: str
    delay: float  # seconds
    mode: str = "trailing"
    max_delay: float | None = None  # seconds; default ten times the delay

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Debounce":
        """Raises UsageError."""
        known = [member.name for member in fields(cls)]
        if not set(given) <= set(known) or not {"key", "delay"} <= set(given):
            raise UsageError(f"debounce={dict(given)!r}: give key and delay, and if you like {', '.join(known[2:])}")
        debounce = cls(**given)
        if not is_word(debounce.key, KEY_LIMIT):
            raise UsageError(f"debounce: key: give 1 to {KEY_LIMIT} printable characters")
        if debounce.mode not in ("leading", "trailing"):
            raise UsageError(f"debounce: mode={debounce.mode!r}: leading or trailing")
        _check_number("debounce: delay", debounce.delay, 0.001, SECONDS_LIMIT)
        if debounce.max_delay is not None:
            _check_number("debounce: max_delay", debounce.max_delay, debounce.delay, SECONDS_LIMIT)
        return debounce

    def columns(self) -> dict[str, Any]:
        """What it makes of a new run."""
        return {
            "debounce_key": self.key,
            "debounce_mode": self.mode,
            "debounce_seconds": self.delay,
            "debounce_cap_seconds": 10 * self.delay if self.max_delay is None else self.max_delay,
            "delay_seconds": self.delay if self.mode == "trailing" else None,
        }


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # naive: UTC, as in Celery


def is_word(value: Any, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    _check_kind(name, value, (int, float))
    if value is not None and not least <= value <= most:  # also refuses nan
        raise UsageError(f"{name}={value!r} is out of range: {least:g} to {most:g}")


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    _check_kind(name, value, (int,))
    _check_number(name, value, least, most)


def _check_kind(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
        raise UsageError(f"{name}={value!r} should be {' or '.join(kind.__name__ for kind in kinds)}")
