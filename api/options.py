"""The options of a trigger as JSON has them: checked here where JSON, or Postgres, is narrower than Python."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import request

from .body import invalid
from .problems import Problem

SECONDS_LIMIT = 100 * 366 * 86_400  # a hundred years
INTEGER_LIMIT = 1_000_000_000
KEY_LIMIT = 255  # characters of an Idempotency-Key header

MOMENTS = ("eta", "expires")
SECONDS = ("countdown", "expires", "idempotency_ttl")
INTEGERS = ("priority", "max_attempts")


def parsed(given: Any) -> dict[str, Any]:
    """What `Celeriac.start` takes: moments as datetimes, the Idempotency-Key header as an option.

    Raises Problem 422 with a pointer, or 400 for the header. Names that are no option are left to `Options.of`.
    """
    if not isinstance(given, dict):
        raise invalid("/options", "an object is expected")
    _refuse_what_postgres_refuses(given)
    options = {name: value for name, value in given.items() if value is not None}
    for name in MOMENTS:
        if isinstance(options.get(name), str):
            options[name] = moment(options[name], f"/options/{name}")
    for name, limit in [(name, SECONDS_LIMIT) for name in SECONDS] + [(name, INTEGER_LIMIT) for name in INTEGERS]:
        _check_range(options, name, limit)
    _check_tags(options)
    key = _idempotency_key_of_header()
    if key is not None and options.setdefault("idempotency_key", key) != key:
        raise Problem(400, "the Idempotency-Key header and options.idempotency_key differ: send one of them")
    return options


def moment(text: str, pointer: str) -> datetime:
    """An ISO 8601 moment, aware; without an offset it is UTC, as in Celery. Raises Problem 422."""
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(pointer, f"{text[:100]!r} is no moment: send ISO 8601, as 2030-01-31T12:00:00Z") from None


def _idempotency_key_of_header() -> str | None:
    """Quoted, as the IETF draft has it, or bare, as most send it."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not 0 < len(text) <= KEY_LIMIT or not (text.isascii() and text.isprintable()):
        raise Problem(400, f"Idempotency-Key: send 1 to {KEY_LIMIT} printable ASCII characters")
    return text


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


def _refuse_what_postgres_refuses(given: dict[str, Any]) -> None:
    for name, value in given.items():
        try:
            text = json.dumps(value, ensure_ascii=False)
            text.encode()
        except UnicodeEncodeError:
            raise invalid(f"/options/{name}", "a string with a lone surrogate, which is not Unicode text") from None
        if "\\u0000" in text.replace("\\\\", ""):
            raise invalid(f"/options/{name}", "a string with a NUL character, which Postgres refuses")
