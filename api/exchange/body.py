"""Request bodies, read by a loop of our own with a cap: Flask cuts a chunked body off at its limit without a word."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from flask import g, request
from werkzeug.exceptions import ClientDisconnected

from .problems import Fault, Problem

CHUNK_BYTES = 65_536


def read_body(limit_bytes: int) -> bytes:
    """The raw body, whole.

    Raises Problem 413 when it is longer than `limit_bytes`, without reading more than that, and 400 when the client
    hung up within.
    """
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size = 0
    while chunk := request.stream.read(min(CHUNK_BYTES, limit_bytes + 1 - size)):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
    if size < (request.content_length or 0):
        raise Problem(400, f"the body ended after {size:,} of its {request.content_length:,} bytes")
    body = b"".join(chunks)
    g.body_digest = hashlib.sha256(body).digest()
    return body


def digest(limit_bytes: int) -> bytes:
    """SHA-256 of the body, which is read now where nothing has read it yet. Raises as `read_body`."""
    if "body_digest" not in g:
        read_body(limit_bytes)
    read: bytes = g.body_digest
    return read


def lines(limit_bytes: int) -> Iterator[bytes | None]:
    """The lines of the body as they come, without their ends; None for one that is longer than `limit_bytes`, which is
    read past. Never holds more than one line. It just ends where the client hung up."""
    stream, rest, is_long = request.stream, b"", False
    while chunk := _chunk(stream):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield None if is_long or len(line) > limit_bytes else line
            is_long = False
        if len(rest) > limit_bytes:
            is_long, rest = True, b""
    if rest or is_long:
        yield None if is_long else rest


def _chunk(stream: Any) -> bytes:
    try:
        return bytes(stream.read(CHUNK_BYTES))
    except (ClientDisconnected, OSError):  # gunicorn raises the latter for a chunked body that breaks off
        return b""


def read_value(limit_bytes: int) -> Any:
    """The body as any JSON value; no body is null.

    Raises Problem: 413, 415 for another content type, 400 for broken JSON.
    """
    raw = read_body(limit_bytes)
    if not raw:
        return None
    _check_content_type()
    return parsed(raw)


def read_object(limit_bytes: int, shape: type) -> dict[str, Any]:
    """The body as a JSON object with none but the members of this TypedDict; no body is an empty object. What they
    hold is not looked at.

    Raises Problem: 413, 415 for another content type, 400 for broken JSON, 422 for another shape.
    """
    raw = read_body(limit_bytes)
    if not raw:
        return {}
    _check_content_type()
    return object_with(parsed(raw), tuple(shape.__annotations__))


def object_with(value: Any, members: Sequence[str]) -> dict[str, Any]:
    """A JSON value that is an object with none but these members. Raises Problem 422."""
    if not isinstance(value, dict):
        raise invalid("", f"an object with {' and '.join(members)} is expected")
    for name in value:
        if name not in members:
            raise invalid(f"/{escaped(name)}", f"there is no member of this name{nearest(name, members)}")
    return value


def parsed(raw: bytes, what: str = "the body") -> Any:
    """Any JSON value. Raises Problem 400."""
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        detail = f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise Problem(400, detail, "json-broken", position=error.pos) from None
    except UnicodeDecodeError as error:
        detail = f"{what} is not UTF-8: {error.reason} at byte {error.start}"
        raise Problem(400, detail, "json-broken", position=error.start) from None
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"{what} is not JSON that can be kept: {error}", "json-broken") from None


def invalid(pointer: str, detail: str) -> Problem:
    """A 422 for one place of the body."""
    return faulty([{"pointer": pointer, "detail": detail}])


def faulty(faults: Sequence[Fault]) -> Problem:
    """A 422 for several places of the body."""
    told = "; ".join(f"{fault['pointer'] or 'the body'}: {fault['detail']}" for fault in faults)
    return Problem(422, told, "body-invalid", errors=faults)


def escaped(name: str) -> str:
    """A member's name as a part of a pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def refuse_what_postgres_refuses(value: Any, pointer: str) -> None:
    """Raises Problem 422 for text that no column can keep."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise invalid(pointer, "a string with a lone surrogate, which is not Unicode text") from None
    if "\\u0000" in text.replace("\\\\", ""):
        raise invalid(pointer, "a string with a NUL character, which Postgres refuses")


def nearest(name: str, known: Sequence[str]) -> str:
    """What to say after an unknown name: the nearest known one, or all of them."""
    near = get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f", known are {', '.join(known)}"


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def _check_content_type() -> None:
    kind = request.mimetype
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        told = f"{kind!r} is not understood" if kind else "the content type is missing"
        raise Problem(
            415, f"{told}: send JSON, with Content-Type: application/json", headers={"Accept": "application/json"}
        )
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise Problem(415, f"Content-Encoding {encoding!r} is not understood: send the JSON as it is")


def _too_large(limit_bytes: int) -> Problem:
    return Problem(413, f"the body is larger than its limit of {limit_bytes:,} bytes", "too-large")
