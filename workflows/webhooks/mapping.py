"""Values out of a delivery by JMESPath: a payload, the items of a body that holds many events, an order key."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from ..errors import UsageError

TEXT_LIMIT = 4000  # characters of one expression
KEY_LIMIT = 200  # characters of an order key


class MappingFailed(Exception):
    """An expression that does not give what it should for this delivery."""


@lru_cache(maxsize=1024)
def checked(expression: str) -> ParsedResult:
    """The expression, parsed. Raises UsageError that says where it is wrong."""
    if len(expression) > TEXT_LIMIT:
        raise UsageError(f"an expression of {len(expression):,} characters: at most {TEXT_LIMIT:,}")
    try:
        return jmespath.compile(expression)
    except (JMESPathError, RecursionError) as error:
        raise UsageError(f"{expression!r} is no JMESPath: {' '.join(str(error).split())}") from None


def payload_by(expression: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payload that an expression makes. Raises MappingFailed where it is no object."""
    made = value_by(expression, document)
    if not isinstance(made, dict):
        told = json.dumps(made, ensure_ascii=False, default=str)[:100]
        raise MappingFailed(f"{expression!r} makes {told} of it; a payload is an object: {{name: body.name}}")
    return made


def items_by(expression: str, document: Mapping[str, Any]) -> list[Any]:
    """The items of a body that holds many events. Raises MappingFailed where they are no list."""
    found = value_by(expression, document)
    if not isinstance(found, list):
        raise MappingFailed(f"{expression!r} is where its items should be, and there is no list")
    return found


def key_by(expression: str, document: Any) -> str | None:
    """The text or number that an expression finds, None where it finds nothing that can be a key."""
    try:
        found = value_by(expression, document)
    except MappingFailed:
        return None
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        return None
    text = str(found)
    return text if len(text) <= KEY_LIMIT and text.isprintable() else None


def value_by(expression: str, document: Any) -> Any:
    """What an expression finds. Raises MappingFailed."""
    try:
        return checked(expression).search(document)
    except (JMESPathError, RecursionError, TypeError, ValueError) as error:
        raise MappingFailed(f"{expression!r}: {' '.join(str(error).split())}") from None
