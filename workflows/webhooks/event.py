"""A webhook delivery as filters and mappings see it, and its body without what it was packed in."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

INFLATED_LIMIT_BYTES = 26_214_400  # of a body that came compressed
NOTHING: Any = object()


@dataclass(frozen=True)
class Event:
    """A verified delivery as its mapping sees it. `headers` have lower-case names; `body` is what was signed.

    Of a body that is split, `item` is the one event that is looked at, and `json()` returns it.
    """

    endpoint: str
    type: str | None
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    delivery: str = ""
    item: Any = NOTHING

    def json(self) -> Any:
        """The body as JSON, a form's fields as an object. Raises ValueError; the delivery is then parked, not lost."""
        return self._parsed if self.item is NOTHING else self.item

    @cached_property
    def document(self) -> dict[str, Any]:
        """What filters and JMESPath see: type, endpoint, body, headers, query. Raises ValueError."""
        return {
            "type": self.type,
            "endpoint": self.endpoint,
            "body": self.json(),
            "headers": dict(self.headers),
            "query": dict(self.query),
        }

    @cached_property
    def _parsed(self) -> Any:
        raw = inflated(self.body, self.headers.get("content-encoding", ""))
        if self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            fields = dict(reversed(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=1000)))
            return json.loads(fields["payload"]) if set(fields) == {"payload"} else fields
        return json.loads(raw)


def inflated(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding. Raises ValueError: it is broken, unknown, or a bomb."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"Content-Encoding {encoding!r} is not understood")
    try:
        reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        whole = reader.decompress(body, INFLATED_LIMIT_BYTES)
    except zlib.error as error:
        raise ValueError(f"the body is no {encoding}: {error}") from None
    if reader.unconsumed_tail or not reader.eof:
        raise ValueError(f"the body is cut off, or inflates to more than {INFLATED_LIMIT_BYTES:,} bytes")
    return whole
