"""Signs a sample as a sender would, to try an endpoint without that sender."""

import base64
import hashlib
import hmac
import json

from ....workflows.errors import UsageError
from ....workflows.webhooks.presets import NONE, SHARED, Preset
from .algorithms import DIGESTS, key_of
from .content import contents
from .request import Request


def signed(
    preset: Preset,
    secret: str,
    request: Request,
    *,
    id: str,
    now: float,
    header: str = "",
    event_type: str | None = None,
) -> tuple[dict[str, str], bytes]:
    """The headers that a sender would add, and the body, in which some senders tell the time.

    Raises UsageError where only the sender has the key: we know its public one.
    """
    headers = dict(request.headers) | _told(preset, id, event_type)
    if preset.algorithm == NONE:
        return headers, request.body
    name = preset.header or header.lower()
    if preset.algorithm == SHARED:
        value = base64.b64encode(secret.encode()).decode() if preset.secret == "basic" else secret
        return headers | {name: preset.prefix + value}, request.body
    field, algorithm = next(
        ((field, each) for field, each in preset.fields.items() if each in DIGESTS), ("", preset.algorithm)
    )
    key = key_of(secret, preset.secret, algorithm) if algorithm in DIGESTS else None
    if key is None:
        raise UsageError(f"verify={preset.name!r}: we have the public key only, its sender alone can sign")
    timestamp = str(int(now * (1000 if preset.timestamp_unit_ms else 1)))
    kind, _, place = preset.timestamp_place.partition(":")
    body = _with_time(request.body, place, int(timestamp)) if kind == "body" else request.body
    content = contents(preset, Request(headers, body, request.url, request.options), id, timestamp)[0]
    made = hmac.digest(key, content, DIGESTS[algorithm])
    text = made.hex() if preset.encoding == "hex" else base64.b64encode(made).decode()
    parts = [f"{place}{preset.assignment}{timestamp}"] if kind == "field" else []
    parts.append(f"{field}{preset.assignment}{text}" if field else preset.prefix + text)
    headers[name] = preset.separator.join(parts)
    if kind == "header":
        headers[place.split("|")[0]] = timestamp
    return headers, body


def address(preset: Preset, url: str, body: bytes, is_form: bool) -> str:
    """The address as a sender would call it: Twilio's tells the hash of a body that is no form."""
    if preset.content != "twilio" or is_form:
        return url
    return f"{url}?bodySHA256={hashlib.sha256(body).hexdigest()}"


def _told(preset: Preset, id: str, event_type: str | None) -> dict[str, str]:
    """The headers that hold the id and the type of the event."""
    headers = {}
    for value, places in ((id, (*preset.dedupe, preset.id_place)), (event_type, preset.event_type)):
        for place in places:
            kind, _, name = place.partition(":")
            if kind == "header" and value is not None:
                headers[name.split("|")[0]] = value
                break
    return headers


def _with_time(body: bytes, name: str, value: int) -> bytes:
    try:
        document = json.loads(body)
    except ValueError:
        return body
    return json.dumps({**document, name: value}).encode() if isinstance(document, dict) else body
