"""The one codec: Python values <-> plain JSON text, never pickle. Types come back by the function's annotations.

What a run sees is always the decoded form of what was stored, so that a first execution and a replay see equal
values. The columns are `json`, not `jsonb`: jsonb would reorder keys and rewrite numbers under the running code.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from inspect import BoundArguments, Parameter, Signature
from types import GenericAlias
from typing import Any, NewType, NotRequired

import typing_extensions
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticSerializationError, from_json, to_json

from .errors import NotSerializable, PayloadInvalid, TooLarge

Json = NewType("Json", str)  # the text of one JSON value, as it is stored

PLAIN = ConfigDict(val_json_bytes="base64", arbitrary_types_allowed=True)
STRICT = ConfigDict(val_json_bytes="base64", arbitrary_types_allowed=True, extra="forbid")
OPEN_ENDED = ConfigDict(val_json_bytes="base64", arbitrary_types_allowed=True, extra="allow")  # takes **kwargs


def encode(value: Any, where: str, limit_bytes: int | None = None) -> Json:
    """The JSON text of `value`. `where` names it in errors: "the result of step 'fetch'".

    Raises NotSerializable with the path of the first fault, TooLarge above `limit_bytes`.
    """
    try:
        encoded = to_json(value, bytes_mode="base64")
        from_json(encoded)  # what could not be read again must not be written: nested too deeply, a number too long
    except (PydanticSerializationError, UnicodeError, RecursionError, ValueError) as error:
        raise _not_serializable(value, where, str(error)) from error
    if b"NaN" in encoded or b"Infinity" in encoded or rb"\u0000" in encoded:
        for path, fault in _faults(value, "$"):
            raise NotSerializable(where, path, fault)
    if limit_bytes is not None and len(encoded) > limit_bytes:
        raise TooLarge(where, len(encoded), limit_bytes)
    return Json(encoded.decode())


def decode(text: str, annotation: Any = Any) -> Any:
    """The value of a stored text, revived to `annotation` where it fits, plain JSON where it does not.

    >>> from uuid import UUID
    >>> decode('"12345678123456781234567812345678"', UUID)
    UUID('12345678-1234-5678-1234-567812345678')
    """
    adapter = _adapter(annotation)
    if adapter is not None:
        try:
            return adapter.validate_json(f"[{text}]")[0]
        except ValidationError:
            pass  # an annotation is a hint, as everywhere in Python: both executions see the plain value
    return from_json(text)


class PayloadSchema:
    """What a workflow's signature accepts: one JSON object, a member for each parameter."""

    def __init__(self, workflow: str, parameters: Mapping[str, Parameter]):
        self.workflow = workflow
        members = {
            name: _member(parameter)
            for name, parameter in parameters.items()
            if parameter.kind is not Parameter.VAR_KEYWORD
        }
        shape: Any = _typed_dict("Payload", members)
        shape.__pydantic_config__ = OPEN_ENDED if len(members) < len(parameters) else STRICT
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(shape)

    def revive(self, text: str) -> dict[str, Any]:
        """The arguments by name. Raises PayloadInvalid, with a pointer to each fault."""
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            faults = [{"pointer": _pointer(e["loc"]), "detail": _told(e)} for e in error.errors(include_url=False)]
            raise PayloadInvalid(self.workflow, faults) from None

    def json_schema(self) -> dict[str, Any]:
        """The payload as a JSON Schema, for registration, the API's description and the page's form."""
        try:
            return self._adapter.json_schema()
        except PydanticUserError:
            return {"type": "object"}  # a parameter of a type that JSON Schema has no word for


def json_schemas(
    types: Sequence[Any], place: str, is_closed: bool = False
) -> tuple[dict[Any, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The JSON Schema of each of these types, and by name those that they refer to, which stand at `place`.

    `is_closed`: an object has no member that is not named.
    """
    # One adapter for all: what several of them refer to is looked at once. A tuple hands its config on.
    every: Any = GenericAlias(tuple, tuple(types))
    config = ConfigDict(extra="forbid" if is_closed else "allow", defer_build=True)
    made = TypeAdapter(every, config=config).json_schema(ref_template=f"{place}{{model}}")
    return dict(zip(types, made["prefixItems"], strict=True)), made.get("$defs", {})


def payload_of(workflow: str, signature: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """`args` and `kwargs` of a call as one object. Raises PayloadInvalid where they do not fit the signature."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise PayloadInvalid(workflow, [{"pointer": "", "detail": str(error)}]) from None
    payload = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD:
            others = payload.pop(name, {})
            if hidden := others.keys() & payload.keys():
                detail = f"{', '.join(sorted(hidden))} can only be given by position"
                raise PayloadInvalid(workflow, [{"pointer": "", "detail": detail}])
            payload.update(others)
    return payload


def arguments_of(signature: Signature, payload: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The way back: the positional and the keyword arguments that `payload` stands for, defaults included."""
    known = {name for name, p in signature.parameters.items() if p.kind is not Parameter.VAR_KEYWORD}
    named = {name: value for name, value in payload.items() if name in known}
    others = {name: value for name, value in payload.items() if name not in known}
    bound = BoundArguments(signature, named)
    bound.apply_defaults()
    return bound.args, bound.kwargs | others


def _typed_dict(name: str, members: dict[str, Any]) -> Any:
    make: Any = vars(typing_extensions)["TypedDict"]  # at run time, out of a type checker's sight
    return make(name, members)


def _member(parameter: Parameter) -> Any:
    """What a parameter accepts, as the annotation of a TypedDict's member."""
    annotation: Any = parameter.annotation
    if annotation is Parameter.empty or _adapter(annotation) is None:
        annotation = Any
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return NotRequired[list[annotation]]
    return annotation if parameter.default is Parameter.empty else NotRequired[annotation]


@lru_cache(maxsize=2048)
def _adapter_of(annotation: Any) -> TypeAdapter[list[Any]] | None:
    try:
        adapter = TypeAdapter(list[annotation], config=PLAIN)
        adapter.validate_json("[]")  # says now if a name in the annotation is not defined
        return adapter
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, TypeError, NameError):
        return None  # an annotation that pydantic cannot read revives nothing


def _adapter(annotation: Any) -> TypeAdapter[list[Any]] | None:
    if annotation is Any or annotation is Parameter.empty:
        return None
    try:
        return _adapter_of(annotation)
    except TypeError:  # an unhashable annotation
        return _adapter_of.__wrapped__(annotation)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _told(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "the workflow has no parameter of this name"
    if error["type"] == "missing":
        return "this parameter is required"
    return str(error["msg"])


def _not_serializable(value: Any, where: str, fallback: str) -> NotSerializable:
    try:
        for path, fault in _faults(value, "$"):
            return NotSerializable(where, path, fault)
    except RecursionError:
        return NotSerializable(where, "$", "a value that contains itself, or is nested too deeply")
    return NotSerializable(where, "$", fallback)


def _faults(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each place where `value` is not JSON, found by walking it: slow, and only done to word an error."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _faults(key, f"{path}.{key!r}"[:200]) if isinstance(key, str) else ()
            yield from _faults(member, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, member in enumerate(value):
            yield from _faults(member, f"{path}[{index}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _faults(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _faults(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"{value}, which JSON has no word for,"
    elif isinstance(value, str):
        yield from ((path, fault) for fault in _string_faults(value))
    else:
        try:
            to_json(value, bytes_mode="base64")
        except (PydanticSerializationError, ValueError):
            yield path, f"a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")


def _string_faults(text: str) -> Iterator[str]:
    if "\0" in text:
        yield "a string with a NUL character, which Postgres refuses,"
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield "a string with a lone surrogate, which is not Unicode text,"
