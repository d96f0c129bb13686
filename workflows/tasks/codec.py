"""Arguments and results of tasks as JSON text, in Celery's own words: a datetime is a datetime again when it is read.

Celery's JSON tells types by a tag, `{"__type__": "datetime", ...}`. What it has no word for (a dataclass, a set) is
written as workflows write it, and comes back plain.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kombu import serialization
from kombu.utils import json as tagged

from ...state import payload
from ...state.payload import Json
from ..errors import NotSerializable, TooLarge, UsageError

TAGGED = object()  # in place of a return annotation: the run is of a task, its result has Celery's tags
JSON_WILL_DO = (None, "json", "yaml", "msgpack")  # what these say, JSON says as well


def encode(value: Any, where: str, limit_bytes: int | None = None) -> Json:
    """The JSON text of a value. `where` names it in errors. Raises NotSerializable, TooLarge above `limit_bytes`."""
    try:
        text = tagged.dumps(value, cls=_Encoder)
    except (TypeError, ValueError, RecursionError, NotSerializable):
        text = payload.encode(value, where)  # which says where in the value the fault is
    if "NaN" in text or "Infinity" in text or r"\u0000" in text or r"\ud" in text:
        payload.encode(value, where)
    if limit_bytes is not None and len(text) > limit_bytes:
        raise TooLarge(where, len(text), limit_bytes)
    return Json(text)


def decode(text: str) -> Any:
    """The value of a text. A tag that nobody knows here stays as it is."""
    try:
        return tagged.loads(text)
    except ValueError:
        return json.loads(text)


def encode_call(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str | None, limit_bytes: int
) -> Json:
    """The payload of a run of a task. Raises UsageError for a serializer that cannot be, NotSerializable, TooLarge."""
    where, call = f"the arguments of task {task!r}", {"args": list(args), "kwargs": dict(kwargs)}
    if serializer in JSON_WILL_DO:
        return encode(call, where, limit_bytes)
    if serializer == "pickle":
        raise UsageError(
            f"{where} are to be pickled (serializer='pickle'): a durable task keeps them as JSON, which outlives a "
            "deploy, and which nobody can hide code in. Pass what JSON can say: the id of an object, not the object."
        )
    _, _, text = serialization.dumps(call, serializer)
    try:
        json.loads(text)
    except ValueError:
        raise UsageError(f"{where}: serializer {serializer!r} makes no JSON, which is what a run's row holds") from None
    if len(text) > limit_bytes:
        raise TooLarge(where, len(text), limit_bytes)
    return Json(text.decode() if isinstance(text, bytes) else text)


def decode_call(text: str, serializer: str | None) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a run of a task, by the serializer that wrote them."""
    call = decode(text)
    if serializer not in JSON_WILL_DO:
        content_type, encoding, _ = serialization.dumps({}, serializer)
        call = serialization.loads(text, content_type, encoding, accept=[content_type])
    return call.get("args") or [], call.get("kwargs") or {}


class _Encoder(tagged.JSONEncoder):
    """Celery's own, and what it has no word for as workflows write it."""

    def default(self, o: Any) -> Any:
        try:
            return super().default(o)
        except TypeError:
            return json.loads(payload.encode(o, "a value"))
