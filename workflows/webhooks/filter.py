"""Which deliveries a route wants, in a small language of its own: no eval, no regular expressions, no loops.

    type == "customer.updated" and (body.data.object.amount >= 100 or "vip" in body.data.tags)
    not exists body.test and headers.x-region in ["eu", "us"] and query.shop startswith "berlin-"

    filter   : clause, combined by and, or, not, ( )
    clause   : value == != < <= > >= value   |   value in value   |   value not in value
               value contains value   |   value startswith value   |   value endswith value   |   exists path
    value    : "text"  12.5  true  false  null  [value, ...]  path
    path     : type, endpoint, body, headers.NAME, query.NAME, and further below: .name ."any name" [0]

What is missing is equal to nothing, and in nothing. To order two things that cannot be ordered, as a text and a number,
is an error: then the delivery is parked, and not passed over.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import UsageError
from .clauses import Both, Clause, Document, Either, Not, Path

TEXT_LIMIT = 4000  # characters of one filter
CLAUSES_LIMIT = 50
DEPTH_LIMIT = 20  # of parentheses and nots

ROOTS = ("type", "endpoint", "body", "headers", "query")
TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)'
    r"|(?P<operator>==|!=|<=|>=|<|>)|(?P<mark>[()\[\],.])|(?P<word>[A-Za-z_][\w-]*))"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter, parsed."""

    text: str
    root: Any

    def answer(self, document: Document) -> tuple[bool, str]:
        """Whether it holds, and if not, which clause says no: `body.amount is 5, expected >= 100`.

        `document` has the members `type`, `endpoint`, `body`, `headers`, `query`. Raises FilterFailed.
        """
        holds, reason = self.root.answer(document)
        return holds, reason


@lru_cache(maxsize=1024)
def parse(text: str) -> Filter:
    """The filter that a text is. Raises UsageError that says where it is wrong, and what is expected there."""
    if len(text) > TEXT_LIMIT:
        raise UsageError(f"a filter of {len(text):,} characters: at most {TEXT_LIMIT:,}")
    return Filter(text, _Parser(text).whole())


class _Parser:
    """By recursive descent, one method for each line of the grammar."""

    def __init__(self, text: str):
        self._text, self._at = text, 0
        self._kind, self._token, self._begin = "", "", 0
        self._clauses, self._depth = 0, 0
        self._step()

    def whole(self) -> Any:
        found = self._either()
        if self._kind:
            raise self._wrong("and, or, or the end")
        return found

    def _either(self) -> Any:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(parts)

    def _both(self) -> Any:
        parts = [self._negated()]
        while self._takes("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Both(parts)

    def _negated(self) -> Any:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise UsageError(f"a filter nested more than {DEPTH_LIMIT} deep")
        begin = self._begin
        if self._takes("not"):
            begin = self._begin
            part = self._negated()
            found: Any = Not(part, self._text[begin : self._begin].strip())
        elif self._takes("("):
            found = self._either()
            self._needs(")")
        else:
            found = self._clause()
        self._depth -= 1
        return found

    def _clause(self) -> Clause:
        self._clauses += 1
        if self._clauses > CLAUSES_LIMIT:
            raise UsageError(f"a filter of more than {CLAUSES_LIMIT} clauses")
        if self._takes("exists"):
            return Clause(self._path(), "exists", None)
        left = self._operand()
        sign = self._token
        if self._kind == "operator" or sign in ("in", "contains", "startswith", "endswith"):
            self._step()
        elif self._takes("not"):
            self._needs("in")
            sign = "not in"
        else:
            raise self._wrong("a comparison, as == or in, behind a value (or `exists` before a path)")
        return Clause(left, sign, self._operand())

    def _operand(self) -> Any:
        token, kind = self._token, self._kind
        if kind in ("text", "number"):
            self._step()
            return json.loads(token)
        if token in ("true", "false", "null"):
            self._step()
            return {"true": True, "false": False, "null": None}[token]
        if self._takes("["):
            members: list[Any] = []
            while not self._takes("]"):
                members.append(self._literal())
                if not self._takes(","):
                    self._needs("]")
                    break
            return members
        return self._path()

    def _literal(self) -> Any:
        if self._token == "[":
            raise self._wrong("a text, a number or a path in a list")
        return self._operand()

    def _path(self) -> Path:
        begin, end = self._begin, self._at
        if self._kind != "word" or self._token not in ROOTS:
            raise self._wrong(f"a value: a text in double quotes, a number, or a path from {', '.join(ROOTS)}")
        parts: list[str | int] = [self._token]
        self._step()
        while self._token in (".", "["):
            is_name = self._takes(".")
            if not is_name:
                self._step()
            if self._kind not in (("word", "text") if is_name else ("number",)):
                raise self._wrong("a name" if is_name else "a position")
            token, end = self._token, self._at
            parts.append((json.loads(token) if self._kind == "text" else token) if is_name else self._index(token))
            self._step()
            if not is_name:
                end = self._at if self._token == "]" else end
                self._needs("]")
        if parts[0] == "headers":
            parts = [part.lower() if isinstance(part, str) else part for part in parts]
        return Path(self._text[begin:end].strip(), tuple(parts))

    def _index(self, token: str) -> int:
        if not token.lstrip("-").isdigit() or len(token) > 9:
            raise self._wrong("a position, as [0]")
        return int(token)

    def _takes(self, token: str) -> bool:
        if self._token != token or self._kind not in ("word", "mark"):
            return False
        self._step()
        return True

    def _needs(self, token: str) -> None:
        if not self._takes(token):
            raise self._wrong(token)

    def _step(self) -> None:
        found = TOKEN.match(self._text, self._at)
        if found is None:
            rest = self._text[self._at :]
            self._kind, self._token = "", ""
            self._begin = self._at + len(rest) - len(rest.lstrip())
            if rest.strip():
                raise self._wrong("a text in double quotes, a number, a path or a comparison")
            return
        self._kind = str(found.lastgroup)
        self._token = found[self._kind]
        self._begin, self._at = found.start(self._kind), found.end()

    def _wrong(self, expected: str) -> UsageError:
        there = repr(self._text[self._begin : self._begin + 20]) if self._text[self._begin :] else "the end"
        return UsageError(f"the filter {self._text!r} at {there}: {expected} is expected")
