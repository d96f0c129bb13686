"""The options of a trigger as JSON has them: checked here where JSON, or Postgres, is narrower than Python."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...workflows.errors import AddressRefused
from ...workflows.options import SCOPES, is_word
from ...workflows.outbound.address_guard import Guard
from ...workflows.queue import KEY_LIMIT as CONCURRENCY_KEY_LIMIT
from ..current import durable
from ..exchange.body import escaped, invalid, nearest, refuse_what_postgres_refuses

SECONDS_LIMIT = 100 * 366 * 86_400  # a hundred years
INTEGER_LIMIT = 1_000_000_000

MOMENTS = ("eta", "expires")
SECONDS = ("countdown", "expires", "idempotency_ttl")
INTEGERS = ("priority", "max_attempts")
WORDS = (("queue", 200), ("concurrency_key", CONCURRENCY_KEY_LIMIT))  # and characters that each may have
DEBOUNCE = ("key", "delay", "mode", "max_delay")
MODES = ("trailing", "leading")
SHORTEST_DEBOUNCE_SECONDS = 0.001


def parsed(given: Any) -> dict[str, Any]:
    """What `Celeriac.start` takes: moments as datetimes. Raises Problem 422 with a pointer.

    Names that are no option are left to `Options.of`.
    """
    if not isinstance(given, dict):
        raise invalid("/options", "an object is expected")
    for name, value in given.items():
        refuse_what_postgres_refuses(value, f"/options/{escaped(name)}")
    options = {name: value for name, value in given.items() if value is not None}
    for name in MOMENTS:
        if isinstance(options.get(name), str):
            options[name] = coming(options[name], f"/options/{name}")
    for name, limit in [(name, SECONDS_LIMIT) for name in SECONDS] + [(name, INTEGER_LIMIT) for name in INTEGERS]:
        _check_range(options, name, limit)
    _check_tags(options)
    _check_keys(options)
    _check_callback(options)
    if "debounce" in options:
        options["debounce"] = _debounce(options["debounce"])
    return options


def moment(text: str, pointer: str) -> datetime:
    """An ISO 8601 moment, aware; without an offset it is UTC, as in Celery. Raises Problem 422."""
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(pointer, f"{text[:100]!r} is no moment: send ISO 8601, as 2030-01-31T12:00:00Z") from None


def coming(text: str, pointer: str) -> datetime:
    """A moment that a run may wait for: a ttl after it must still be a year that Python can read."""
    parsed = moment(text, pointer)
    if (parsed - datetime.now(UTC)).total_seconds() > SECONDS_LIMIT:
        raise invalid(pointer, f"{text[:100]!r} is out of range: a hundred years from now at most")
    return parsed


def seconds(value: Any, pointer: str, least: float = 0) -> float:
    """Seconds as JSON has them. Raises Problem 422."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(pointer, "a number of seconds is expected")
    if not least <= value <= SECONDS_LIMIT:
        raise invalid(pointer, f"{_told(value)} is out of range: {least:g} to {SECONDS_LIMIT}")
    return value


def _check_range(options: Mapping[str, Any], name: str, limit: int) -> None:
    value = options.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return  # a wrong kind is for Options.of to word
    lowest = -limit if name == "priority" else 0
    if not lowest <= value <= limit or (name == "idempotency_ttl" and value == 0):
        raise invalid(f"/options/{name}", f"{value} is out of range: at most {limit}")


def _check_tags(options: Mapping[str, Any]) -> None:
    if not isinstance(options.get("tags", []), list):
        raise invalid("/options/tags", "a list of strings is expected")


def _check_keys(options: Mapping[str, Any]) -> None:
    for name, limit in WORDS:
        if name in options:
            _check_word(options[name], f"/options/{name}", limit)
    scope = options.get("idempotency_scope", SCOPES[0])
    if scope not in SCOPES:
        raise invalid("/options/idempotency_scope", f"{_told(scope)} is no scope{nearest(str(scope), SCOPES)}")


def _check_callback(options: Mapping[str, Any]) -> None:
    if "callback_url" in options:
        try:
            Guard.of(durable().settings).place(options["callback_url"])
        except AddressRefused as refusal:
            raise invalid("/options/callback_url", str(refusal)) from None


def _debounce(given: Any) -> dict[str, Any]:
    """Checked member by member, without those that are null."""
    if not isinstance(given, dict):
        raise invalid("/options/debounce", "an object with key and delay is expected")
    for name in given:
        if name not in DEBOUNCE:
            raise invalid(
                f"/options/debounce/{escaped(name)}", f"there is no member of this name{nearest(name, DEBOUNCE)}"
            )
    debounce = {name: value for name, value in given.items() if value is not None}
    _check_word(debounce.get("key"), "/options/debounce/key", CONCURRENCY_KEY_LIMIT)
    seconds(debounce.get("delay"), "/options/debounce/delay", SHORTEST_DEBOUNCE_SECONDS)
    mode = debounce.setdefault("mode", MODES[0])
    if mode not in MODES:
        raise invalid("/options/debounce/mode", f"{_told(mode)} is no mode{nearest(str(mode), MODES)}")
    if "max_delay" in debounce:
        seconds(debounce["max_delay"], "/options/debounce/max_delay", debounce["delay"])
    return debounce


def _check_word(value: Any, pointer: str, limit: int) -> None:
    if not is_word(value, limit):
        raise invalid(pointer, f"a string of 1 to {limit} printable characters is expected")


def _told(value: Any) -> str:
    """A value that was sent, short enough for a message about it."""
    return repr(value)[:100]
