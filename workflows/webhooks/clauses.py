"""The clauses of a filter, and what each says of a delivery: whether it holds, and why not."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOLD_LIMIT = 60  # characters of one value in a reason

ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class FilterFailed(Exception):
    """A filter that cannot be answered for this delivery."""


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands. `text` is how it was written."""

    text: str
    parts: tuple[str | int, ...]

    def of(self, document: Document) -> Any:
        value: Any = document
        for part in self.parts:
            if isinstance(part, str) and isinstance(value, Mapping):
                value = value.get(part, MISSING)
            elif isinstance(part, int) and isinstance(value, list):
                value = value[part] if -len(value) <= part < len(value) else MISSING
            else:
                return MISSING
        return value


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison. `left` and `right` are values, or paths to them."""

    left: Any
    operator: str
    right: Any

    def answer(self, document: Document) -> tuple[bool, str]:
        left, right = _value(self.left, document), _value(self.right, document)
        if self.operator == "exists":
            return left is not MISSING, f"{self.left.text} does not exist"
        holds = self._holds(left, right)
        name = self.left.text if isinstance(self.left, Path) else _told(left)
        told = f"{name} is {_told(left)}" if isinstance(self.left, Path) else name
        beside = f"{self.right.text} ({_told(right)})" if isinstance(self.right, Path) else _told(right)
        return holds, f"{told}, expected {self.operator} {beside}"

    def _holds(self, left: Any, right: Any) -> bool:
        match self.operator:
            case "==":
                return _equal(left, right)
            case "!=":
                return not _equal(left, right)
            case "in":
                return _contains(right, left)
            case "not in":
                return not _contains(right, left)
            case "contains":
                return _contains(left, right)
            case "startswith" | "endswith":
                return isinstance(left, str) and isinstance(right, str) and getattr(left, self.operator)(right)
        if left is MISSING or right is MISSING:
            return False
        are_numbers = _is_number(left) and _is_number(right)
        if not are_numbers and not (isinstance(left, str) and isinstance(right, str)):
            raise FilterFailed(f"{_told(left)} {self.operator} {_told(right)}: these two have no order")
        return ORDERS[self.operator](left, right)


@dataclass(frozen=True, slots=True)
class Both:
    """All of its parts hold; the reason is that of the first that does not."""

    parts: Sequence[Any]

    def answer(self, document: Document) -> tuple[bool, str]:
        for part in self.parts:
            holds, reason = part.answer(document)
            if not holds:
                return False, reason
        return True, "all of it holds"


@dataclass(frozen=True, slots=True)
class Either:
    """One of its parts holds."""

    parts: Sequence[Any]

    def answer(self, document: Document) -> tuple[bool, str]:
        reasons = []
        for part in self.parts:
            holds, reason = part.answer(document)
            if holds:
                return True, reason
            reasons.append(reason)
        return False, "; and ".join(reasons)


@dataclass(frozen=True, slots=True)
class Not:
    """Its part does not hold. `text` is how that was written."""

    part: Any
    text: str

    def answer(self, document: Document) -> tuple[bool, str]:
        holds, _ = self.part.answer(document)
        return not holds, f"{self.text} holds, expected not"


def _value(operand: Any, document: Document) -> Any:
    if isinstance(operand, Path):
        return operand.of(document)
    return [_value(each, document) for each in operand] if isinstance(operand, list) else operand


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):  # in Python 1 == True, in JSON it is not
        return left is right
    return bool(left == right)


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    if isinstance(whole, list):
        return any(_equal(each, part) for each in whole)
    return isinstance(whole, Mapping) and isinstance(part, str) and part in whole


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told(value: Any) -> str:
    if value is MISSING:
        return "missing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= TOLD_LIMIT else f"{text[:TOLD_LIMIT]}…"
