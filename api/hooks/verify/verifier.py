"""One function verifies what every preset describes. It never raises, says why, and does not tell by its time which
secret it was.

The traps are in the bytes: the body as received, headers that hold anything, two signatures joined by a comma.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ....workflows.webhooks.presets import NONE, SHARED, Preset
from .algorithms import decoded, is_in_force, key_of, matches
from .content import basic, contents
from .request import Request, first, hashed, within

SECRETS_LIMIT = 5  # that one request is compared with
SIGNATURES_LIMIT = 10  # that one request may bring
HEADER_LIMIT = 8192  # characters

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it. `reason` is `verified`, or why not:

    - no_secret, bad_secret: the endpoint's declaration is at fault
    - missing_header, duplicate_header, malformed_header, unknown_version: there is no signature to compare
    - missing_timestamp, malformed_timestamp, too_old, too_new: signed, but not now
    - body_mismatch: the signed address speaks of another body
    - no_match: it was made with another secret, or for another body

    `secret` is the position of the one that it was made with.
    """

    reason: str
    secret: int | None = None
    dedupe_key: str | None = None  # None: nothing tells two of its requests apart but that there are two
    event_type: str | None = None

    @property
    def is_verified(self) -> bool:
        return self.reason == "verified"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of its signature: (algorithm, signature) of each, and what they are said to be over."""

    signatures: Sequence[tuple[str, bytes]]
    id: str
    timestamp: str


def verify(
    preset: Preset,
    secrets: Sequence[str],
    request: Request,
    *,
    header: str = "",
    now: float | None = None,
    ignores_time: bool = False,
) -> Verdict:
    """Compares the signatures of a request with all live secrets.

    `header` is the endpoint's own, for presets that name none. `now` is in seconds since 1970; `ignores_time` is for
    requests that have waited in quarantine.
    """
    if preset.algorithm == NONE:
        return _verified(preset, request, None, "", b"")
    if not any(secrets):
        return Verdict("no_secret")
    signed = _signed(preset, request, preset.header or header.lower())
    if isinstance(signed, str):
        return Verdict(signed)
    possible = contents(preset, request, signed.id, signed.timestamp)
    if not possible:
        return Verdict("body_mismatch")
    secret, has_key = _matching(preset, secrets, possible, signed)
    if secret is None:
        return Verdict("no_match" if has_key else "bad_secret")
    moment = _moment_of_body(preset, request) if preset.timestamp_place.startswith("body:") else signed.timestamp
    if not ignores_time and (fault := _out_of_time(preset, moment, time.time() if now is None else now)):
        return Verdict(fault)
    return _verified(preset, request, secret, signed.timestamp, signed.signatures[0][1])


def _signed(preset: Preset, request: Request, name: str) -> Signed | str:
    """What the headers say, or the reason why they say nothing."""
    text = request.headers.get(name)
    if text is None and preset.fallback_header:
        text = request.headers.get(preset.fallback_header)
    if text is None:
        return "missing_header"
    if len(text) > HEADER_LIMIT:
        return "malformed_header"
    fields = _fields(preset, text) if preset.separator else []
    id, timestamp = _told(preset.id_place, request, fields), _told(preset.timestamp_place, request, fields)
    if id is None or timestamp is None:
        return "missing_header" if id is None else "missing_timestamp"
    found = _of_fields(preset, fields) if preset.separator else _of_header(preset, text)
    return found if isinstance(found, str) else Signed(found[:SIGNATURES_LIMIT], id, timestamp)


def _fields(preset: Preset, text: str) -> Fields:
    pairs = (item.strip().partition(preset.assignment) for item in text.split(preset.separator))
    return [(name.strip(), value.strip()) for name, assigned, value in pairs if assigned]


def _of_fields(preset: Preset, fields: Fields) -> list[tuple[str, bytes]] | str:
    known = [(preset.fields[name], value) for name, value in fields if name in preset.fields]
    if not known:
        return "unknown_version" if fields else "malformed_header"
    read = [(algorithm, signature) for algorithm, value in known if (signature := decoded(value, preset.encoding))]
    return read or "malformed_header"


def _of_header(preset: Preset, text: str) -> list[tuple[str, bytes]] | str:
    value = text.strip()
    if "," in value:
        return "duplicate_header"
    if (
        value[: len(preset.prefix)].lower() == preset.prefix.lower()
        if preset.algorithm == SHARED
        else (value.startswith(preset.prefix))
    ):
        value = value[len(preset.prefix) :]
    elif preset.is_prefix_required:
        return "malformed_header"
    if preset.algorithm == SHARED:
        given = basic(value.strip()) if preset.secret == "basic" else value.strip()
        return [(SHARED, given.encode("utf-8", "surrogatepass"))] if given else "malformed_header"
    signature = decoded(value, preset.encoding)
    return [(preset.algorithm, signature)] if signature else "malformed_header"


def _told(place: str, request: Request, fields: Fields) -> str | None:
    """What stands in a place that is needed before the signature is verified; empty where the preset has none."""
    kind, _, name = place.partition(":")
    if kind == "header":
        return request.header(name)
    if kind == "field":
        given = [value for known, value in fields if known == name]
        return given[0] if len(given) == 1 else None
    return ""


def _matching(
    preset: Preset, secrets: Sequence[str], possible: Sequence[bytes], signed: Signed
) -> tuple[int | None, bool]:
    """The first secret that one of the signatures was made with, and whether any was a key at all. All are tried, so
    that the time does not tell which one it was."""
    found: int | None = None
    has_key = False
    for index, secret in enumerate(secrets[:SECRETS_LIMIT]):
        for algorithm, signature in signed.signatures:
            key = key_of(secret, preset.secret, algorithm) if is_in_force(secret, preset.secret) else None
            has_key |= key is not None
            for content in possible if key is not None else ():
                if matches(algorithm, key, content, signature) and found is None:
                    found = index
    return found, has_key


def _out_of_time(preset: Preset, moment: str, now: float) -> str | None:
    if not preset.tolerance_seconds:
        return None
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 20):
        return "malformed_timestamp" if moment else "missing_timestamp"
    at = int(moment) / (1000 if preset.timestamp_unit_ms else 1)
    if abs(now - at) <= preset.tolerance_seconds:
        return None
    return "too_old" if at < now else "too_new"


def _moment_of_body(preset: Preset, request: Request) -> str:
    value: Any = within(request.document(), preset.timestamp_place.removeprefix("body:"))
    return "" if value is None else str(value)


def _verified(preset: Preset, request: Request, secret: int | None, timestamp: str, signature: bytes) -> Verdict:
    key = first(request, preset.dedupe)
    if key is None and preset.algorithm not in (NONE, SHARED):  # the signature of the same bytes, at the same time
        key = hashed(b"\0".join(_parts(request.body, timestamp, signature)))
    return Verdict("verified", secret, key, first(request, preset.event_type))


def _parts(body: bytes, timestamp: str, signature: bytes) -> Iterator[bytes]:
    yield body
    if timestamp:
        yield timestamp.encode("utf-8", "surrogatepass")
    yield signature
