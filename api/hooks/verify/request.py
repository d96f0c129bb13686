"""A webhook request as it is verified, and the places of it that hold something."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

FORM = "application/x-www-form-urlencoded"
VALUE_LIMIT = 200  # characters of a sender's id that are kept as they are; a longer one is hashed


@dataclass(frozen=True, slots=True)
class Request:
    """What came. `headers` have lower-case names, each once; `url` is the address as its sender knows it, with the
    query; `options` are what the endpoint says beside its secrets, as PayPal's `webhook_id`."""

    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    options: Mapping[str, str] | None = None

    def header(self, names: str) -> str | None:
        """The first of these (`a|b`) that is there."""
        return next((self.headers[name] for name in names.split("|") if name in self.headers), None)

    @property
    def is_form(self) -> bool:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM

    def form(self) -> list[tuple[str, str]]:
        """The fields of a form, in their order."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000)

    def document(self) -> Any:
        """The body as JSON or a form, None where it is neither; a form with its JSON in `payload` is what is in there.
        Never raises."""
        try:
            if not self.is_form:
                return json.loads(self.body)
            fields = dict(reversed(self.form()))
            return json.loads(fields["payload"]) if set(fields) == {"payload"} else fields
        except (ValueError, RecursionError):
            return None


def first(request: Request, places: tuple[str, ...]) -> str | None:
    """The first place (`header:name`, `body:path`) that holds something, as a text that a column can keep."""
    return next(_found(request, places), None)


def within(document: Any, path: str) -> Any:
    """What stands at a path of names, `data.object.id`; None where nothing does."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def kept(text: str) -> str:
    """A sender's id as a column keeps it: printable as it is, hashed where it is long or strange."""
    if len(text) <= VALUE_LIMIT and text.isprintable():
        return text
    return hashed(text.encode("utf-8", "surrogatepass"))


def hashed(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _found(request: Request, places: tuple[str, ...]) -> Iterator[str]:
    document = None
    for place in places:
        kind, _, name = place.partition(":")
        if kind == "header":
            value: Any = request.header(name)
        else:
            document = request.document() if document is None else document
            value = within(document, name)
        if isinstance(value, str | int) and not isinstance(value, bool) and (text := str(value).strip()):
            yield kept(text)
