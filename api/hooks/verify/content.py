"""The bytes that a sender signs. Several where it is not told which: Twilio's address with and without its port."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

from ....workflows.webhooks.presets import Preset
from .request import Request

PLACE = re.compile(r"{(\w+)}")
PORTS = {"http": 80, "https": 443}


def contents(preset: Preset, request: Request, id: str, timestamp: str) -> list[bytes]:
    """What may have been signed. Empty: the body is not the one that the signed address speaks of. Never raises."""
    if preset.content == "twilio":
        return list(_of_twilio(request))
    values = {
        "body": request.body,
        "id": _bytes(id),
        "timestamp": _bytes(timestamp),
        "url": _bytes(request.url),
        "crc32": b"%d" % binascii.crc32(request.body),
        "webhook_id": _bytes((request.options or {}).get("webhook_id", "")),
    }
    parts = PLACE.split(preset.content)  # text, name, text, name, ..., text
    return [b"".join(values[part] if index % 2 else part.encode() for index, part in enumerate(parts))]


def _of_twilio(request: Request) -> Iterator[bytes]:
    """The address as it was configured; a form's fields follow it, sorted, each name with its different values. Of any
    other body the address has the hash."""
    fields = ""
    if request.is_form:
        by_name: dict[str, set[str]] = {}
        for name, value in request.form():
            by_name.setdefault(name, set()).add(value)
        fields = "".join(name + value for name in sorted(by_name) for value in sorted(by_name[name]))
    elif not _names_the_body(request):
        return
    for url in _spellings(request.url):
        yield _bytes(url + fields)


def _names_the_body(request: Request) -> bool:
    try:
        told = parse_qs(urlsplit(request.url).query).get("bodySHA256", [""])[0]
    except ValueError:
        return False
    return not request.body if not told else hashlib.sha256(request.body).hexdigest() == told.lower()


def _spellings(url: str) -> list[str]:
    """The address as it is, without its port, and with the port that its scheme has."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return [url]
    bare = f"[{host}]" if ":" in host else host
    other = bare if port else f"{bare}:{PORTS.get(parts.scheme, 443)}"
    return [url, urlunsplit(parts._replace(netloc=other))]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def basic(value: str) -> str:
    """`user:password` out of what stands behind `Basic `; empty where it is not base64."""
    try:
        return base64.b64decode(value.encode("ascii"), validate=True).decode("utf-8")
    except ValueError:
        return ""
