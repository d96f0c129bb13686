"""A list of runs: filters and a cursor from a query string, for the API and for the page alike; and the same filters as
the members of a JSON object."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from werkzeug.datastructures import MultiDict

from ...state import ids, runs
from ...state.database import Database
from ...state.runs import Filter, RunRow
from ...state.status import STATUSES
from ...workflows.operate import search
from .. import current
from ..exchange.body import escaped, invalid, nearest, refuse_what_postgres_refuses
from ..exchange.problems import Problem
from .options import moment

LIMIT = 50
LIMIT_MAX = 200
TEXTS = ("workflow", "tag", "queue", "concurrency_key", "source")
MOMENTS = ("created_from", "created_to")
FILTERS = ("status", *TEXTS, *MOMENTS, "parent_id", "q")
PARAMETERS = (*FILTERS, "limit", "cursor")


@dataclass(frozen=True, slots=True)
class Listing:
    """One page. `next_cursor` None: it is the last one."""

    rows: list[RunRow]
    next_cursor: str | None


def listed(database: Database, query: "MultiDict[str, str]") -> Listing:
    """The page that a query string asks for. Raises Problem 400 for what it cannot."""
    for name in query:
        if name not in PARAMETERS:
            raise Problem(400, f"{name!r} is no filter of runs{nearest(name, PARAMETERS)}", "usage")
    limit = limit_of(query.get("limit", str(LIMIT)), "limit")
    rows = runs.find(database, filter_of(query), limit + 1)
    is_last = len(rows) <= limit
    return Listing(rows[:limit], None if is_last else cursor(rows[limit - 1]))


def filter_of(query: "MultiDict[str, str]") -> Filter:
    """`status` may be repeated, or hold several with commas between. An empty parameter is as good as none. `q` is a
    search, which narrows further. Raises Problem 400."""
    given: dict[str, Any] = {name: _clean(name, query[name]) for name in TEXTS if query.get(name)}
    given |= {name: _moment(name, query[name]) for name in MOMENTS if query.get(name)}
    if query.get("parent_id"):
        given["parent_id"] = _run_id(query["parent_id"])
    after = _after(query["cursor"]) if query.get("cursor") else None
    named = Filter(status=statuses(query), after=after, **given)
    return _searched(query["q"], named) if query.get("q") else named


def filter_in(given: Any, pointer: str) -> Filter:
    """The filter that a member of a JSON object is: strings, `status` also as a list. Raises Problem 422."""
    if not isinstance(given, dict):
        raise invalid(pointer, 'an object is expected, as {"status": "failed"}; {} is for all runs')
    query: MultiDict[str, str] = MultiDict()
    for name, value in given.items():
        at = f"{pointer}/{escaped(name)}"
        if name not in FILTERS:
            raise invalid(at, f"there is no filter of this name{nearest(name, FILTERS)}")
        query.setlist(name, _texts(name, value, at))
        try:
            filter_of(MultiDict([(name, text) for text in query.getlist(name)]))
        except Problem as problem:
            raise invalid(at, problem.detail) from None
    return filter_of(query)


def _searched(text: str, named: Filter) -> Filter:
    try:
        return search.narrowed(named, text, current.database().now())
    except search.SearchInvalid as error:
        raise Problem(400, f"q: {error}", "search-invalid", position=error.at) from None


def query_of(filter: Mapping[str, Any]) -> "MultiDict[str, str]":
    """The query string of the list that shows what a filter, as JSON has it, is for."""
    pairs = [(name, value) for name, value in filter.items() if name != "status"]
    return MultiDict([("status", ",".join(filter.get("status", ()))), *pairs] if filter.get("status") else pairs)


def statuses(query: "MultiDict[str, str]") -> list[str]:
    """The statuses that are asked for; none means all. Raises Problem 400 for a word that is none."""
    asked = [word.strip() for text in query.getlist("status") for word in text.split(",") if word.strip()]
    for word in asked:
        if word not in STATUSES:
            raise Problem(400, f"{word!r} is no status{nearest(word, STATUSES)}", "usage")
    return asked


def cursor(last: RunRow) -> str:
    """What continues after this run."""
    return pack(last.created_at, last.id.hex)


def pack(at: datetime, name: str) -> str:
    """A cursor: a moment, and what stands at it. It means nothing to anyone else."""
    return urlsafe_b64encode(json.dumps([at.isoformat(), name]).encode()).decode().rstrip("=")


def unpack(text: str) -> tuple[datetime, str]:
    """What `pack` made. Raises Problem 400."""
    try:
        at, name = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        parsed = datetime.fromisoformat(at)
        if parsed.tzinfo is None or not isinstance(name, str) or "\0" in name:
            raise ValueError("naive, or no name")
        return parsed, name
    except (binascii.Error, ValueError, TypeError, AttributeError):
        raise _not_given_out() from None


def limit_of(text: str, name: str) -> int:
    """How many a list shows. Raises Problem 400."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise Problem(400, f"{name}={text}: give 1 to {LIMIT_MAX}", "usage")
    return int(text)


def _after(text: str) -> tuple[datetime, UUID]:
    at, id = unpack(text)
    try:
        return at, UUID(id)
    except ValueError:
        raise _not_given_out() from None


def _not_given_out() -> Problem:
    return Problem(400, "this cursor is not one that was given out: start again without it", "usage")


def _clean(name: str, text: str) -> str:
    if "\0" in text:
        raise Problem(400, f"{name}: a NUL character is in no name", "usage")
    return text


def _moment(name: str, text: str) -> datetime:
    try:
        return moment(text, name)
    except Problem as problem:
        raise Problem(400, problem.detail, "usage") from None


def _run_id(text: str) -> UUID:
    try:
        return ids.parse("run", text)
    except ValueError as error:
        raise Problem(400, f"parent_id: {error}", "usage") from None


def _texts(name: str, value: Any, pointer: str) -> list[str]:
    """The strings that a member of a filter holds; null is as good as none."""
    texts = [] if value is None else value if name == "status" and isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise invalid(pointer, "a string is expected" + (", or a list of them" if name == "status" else ""))
    refuse_what_postgres_refuses(texts, pointer)
    return texts
