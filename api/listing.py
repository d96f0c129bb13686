"""A list of runs: filters and a cursor from a query string, for the API and for the page alike."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from werkzeug.datastructures import MultiDict

from ..state import runs
from ..state.database import Database
from ..state.runs import Filter, RunRow
from ..state.status import STATUSES
from .body import nearest
from .cursors import after, cursor
from .options import moment
from .problems import Problem

LIMIT = 50
LIMIT_MAX = 200
TEXTS = ("workflow", "tag", "queue", "concurrency_key", "source")
MOMENTS = ("created_from", "created_to")
PARAMETERS = ("status", *TEXTS, *MOMENTS, "limit", "cursor")


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
    limit = _limit(query.get("limit", str(LIMIT)))
    rows = runs.find(database, filter_of(query), limit + 1)
    is_last = len(rows) <= limit
    return Listing(rows[:limit], None if is_last else cursor(rows[limit - 1].created_at, rows[limit - 1].id))


def filter_of(query: "MultiDict[str, str]") -> Filter:
    """`status` may be repeated, or hold several with commas between. An empty parameter is as good as none."""
    given: dict[str, Any] = {name: _clean(name, query[name]) for name in TEXTS if query.get(name)}
    given |= {name: _moment(name, query[name]) for name in MOMENTS if query.get(name)}
    return Filter(status=statuses(query), after=after(query), **given)


def statuses(query: "MultiDict[str, str]") -> list[str]:
    """The statuses that are asked for; none means all. Raises Problem 400 for a word that is none."""
    asked = [word.strip() for text in query.getlist("status") for word in text.split(",") if word.strip()]
    for word in asked:
        if word not in STATUSES:
            raise Problem(400, f"{word!r} is no status{nearest(word, STATUSES)}", "usage")
    return asked


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise Problem(400, f"limit={text}: give 1 to {LIMIT_MAX}", "usage")
    return int(text)


def _clean(name: str, text: str) -> str:
    if "\0" in text:
        raise Problem(400, f"{name}: a NUL character is in no name", "usage")
    return text


def _moment(name: str, text: str) -> datetime:
    try:
        return moment(text, name)
    except Problem as problem:
        raise Problem(400, problem.detail, "usage") from None
