"""A form for the payload of a workflow, made from its JSON Schema: a control for each parameter, by its type."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "field."  # of the names of its controls, before that of the parameter
KINDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}  # others are JSON


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter. `kind` is text, integer, number, boolean, choice or json; `value` what its control shows."""

    name: str
    kind: str
    hint: str
    is_required: bool
    choices: Sequence[str] = ()
    value: str = ""
    fault: str | None = None


class Unreadable(ValueError):
    """What was entered is no payload: pointer into it -> what is wrong."""

    def __init__(self, faults: Mapping[str, str]):
        super().__init__("; ".join(faults.values()))
        self.faults = dict(faults)


def fields(schema: Mapping[str, Any], payload: Mapping[str, Any]) -> list[Field]:
    """The controls, filled with a payload."""
    required = schema.get("required", ())
    return [
        _field(name, _type_of(told, schema), name in required, payload.get(name))
        for name, told in schema.get("properties", {}).items()
    ]


def payload_of(schema: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """The payload that was entered; optional parameters that were left empty are left out. Raises Unreadable."""
    payload, faults = {}, {}
    for field in fields(schema, {}):
        text = form.get(PREFIX + field.name, "")
        if not text.strip() and not (field.is_required and field.kind == "text"):
            if field.is_required:
                faults[f"/{field.name}"] = "it is needed"
            continue
        try:
            payload[field.name] = _value(field.kind, text)
        except ValueError as error:
            faults[f"/{field.name}"] = str(error)
    if faults:
        raise Unreadable(faults)
    return payload


def json_payload(text: str) -> dict[str, Any]:
    """The payload that is written as JSON. Raises Unreadable."""
    try:
        value = json.loads(text or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable({"": f"this is not JSON: {error}"}) from None
    if not isinstance(value, dict):
        raise Unreadable({"": "an object is expected, with a member for each parameter"})
    return value


def _field(name: str, told: Mapping[str, Any], is_required: bool, value: Any) -> Field:
    choices = [each if isinstance(each, str) else json.dumps(each) for each in told.get("enum", ())]
    kind = "choice" if choices else KINDS.get(told.get("type", ""), "json")
    is_plain = isinstance(value, str) and kind in ("text", "choice")
    shown = "" if value is None else value if is_plain else json.dumps(value, ensure_ascii=False)
    hint = told.get("format") or (kind if kind != "choice" else "one of these")
    return Field(name, kind, hint, is_required, choices, shown)


def _type_of(told: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a parameter is besides null; a reference is followed."""
    kinds = [each for each in told.get("anyOf", ()) if each.get("type") != "null"]
    if len(kinds) == 1:
        told = kinds[0]
    if "$ref" in told:
        told = schema.get("$defs", {}).get(told["$ref"].rpartition("/")[2], {})
    return told


def _value(kind: str, text: str) -> Any:
    match kind:
        case "text":
            return text
        case "integer":
            return _number(text, int, "a whole number")
        case "number":
            return _number(text, float, "a number")
        case "boolean":
            return text == "true"
        case "choice":
            try:
                return json.loads(text) if not text.isalpha() else text
            except ValueError:
                return text
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON: {error}") from None


def _number(text: str, kind: type[int] | type[float], told: str) -> float:
    try:
        number = kind(text.strip())
        json.dumps(number, allow_nan=False)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not {told}") from None
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
