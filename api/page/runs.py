"""The monitoring page of the list of runs. Its address is its whole state: the search, and where in the list it is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import census, ids, status
from ...state.database import Database
from ...state.runs import Filter
from ...workflows.operate import bulk, search
from ..access.scopes import needs
from ..current import database
from ..exchange.problems import Problem
from ..rest.catalogue import known_workflows
from ..rest.listing import Listing, filter_of, listed
from . import export
from .page import render, stream
from .strip import strip

blueprint = Blueprint("runs_page", __name__, url_prefix="/runs")

LOOK_MS = 10_000  # after which the list looks anyway: durations go on without a move
EVENTS = " ".join(f"run.{each}" for each in status.STATUSES)  # of its stream
RANGES = ("1h", "24h", "7d", "30d")
FORMATS: dict[str, tuple[str, Callable[[Database, Filter], Iterator[str]]]] = {
    "csv": ("text/csv", export.as_csv),
    "ndjson": ("application/x-ndjson", export.as_ndjson),
}


@blueprint.get("")
@needs("runs:read")
def index() -> ResponseReturnValue:
    """The runs, newest first; an id alone leads to its run."""
    query = _query()
    wanted = request.args.get("id") or query.get("q", "")
    if id := search.run_id(wanted):
        return redirect(url_for("run_page.show", id=ids.public("run", id)), 303)
    if request.args.get("id"):
        return redirect(url_for("runs_page.index", notice="not-an-id"), 303)
    try:
        found = listed(database(), query)
    except Problem as problem:
        if problem.kind != "search-invalid":
            raise
        return _refused(query["q"], problem), 400
    return _page(query, found)


@blueprint.get("/export.<any(csv, ndjson):kind>")
@needs("runs:read")
def download(kind: str) -> ResponseReturnValue:
    """All that match, streamed."""
    mimetype, lines = FORMATS[kind]
    filter = filter_of(_query())
    name = f"runs-{database().now().astimezone(UTC):%Y%m%dT%H%M%SZ}.{kind}"
    answer = Response(lines(database(), filter), mimetype=mimetype)
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _page(query: "MultiDict[str, str]", found: Listing) -> str:
    filter, now = filter_of(query), database().now()
    q = query["q"] if set(query) <= {"q", "cursor"} and query.get("q") else search.told(filter)
    counts, timeless = census.by_status(database(), filter), search.rewritten(q, "created")
    return render(
        "runs.html",
        now,
        q=q,
        runs=found.rows,
        chips=_chips(q, filter, counts),
        ranges=_ranges(q, filter),
        strip=strip(database(), filter, found.rows, now),
        span_of=lambda at, until: _list(f"{timeless} created:{_moment(at)}..{_moment(until)}".strip()),
        actions=_actions(filter, counts),
        is_first=not query.get("cursor"),
        first=_list(q),
        older=_list(q, found.next_cursor) if found.next_cursor else None,
        downloads={kind: url_for("runs_page.download", kind=kind, q=q or None) for kind in FORMATS},
        workflows=[] if found.rows or q else known_workflows(),
        stream=stream(url_for("stream.of_runs", q=q or None), EVENTS, LOOK_MS),
    )


def _refused(q: str, problem: Problem) -> str:
    """A search that says nothing comes back, and why."""
    return render("runs.html", database().now(), q=q, fault=problem.detail.removeprefix("q: "))


def _query() -> "MultiDict[str, str]":
    """What of the query string says which runs are meant."""
    return MultiDict([(name, v) for name, v in request.args.items(multi=True) if v and name not in ("id", "notice")])


def _chips(q: str, filter: Filter, counts: dict[str, tuple[int, bool]] | None) -> list[dict[str, Any]]:
    """One for each status: a link that shows only those, and for the current one a link that shows all again."""
    every = _list(search.rewritten(q, "status"))
    chips: list[dict[str, Any]] = [{"name": "all", "href": every, "is_current": not filter.status, "count": ""}]
    for name in status.STATUSES:
        is_current = name in filter.status
        is_only = is_current and len(filter.status) == 1
        chips.append({
            "name": name,
            "href": _list(search.rewritten(q, "status", "" if is_only else name)),
            "is_current": is_current,
            "count": _counted(*counts[name]) if counts else "",
        })  # fmt: skip
    return chips


def _ranges(q: str, filter: Filter) -> list[dict[str, Any]]:
    """Links that narrow the list to what was created lately."""
    is_all = not (filter.created_from or filter.created_to)
    ranges = [{"name": "all time", "href": _list(search.rewritten(q, "created")), "is_current": is_all}]
    for name in RANGES:
        href, is_current = _list(search.rewritten(q, "created", f">{name}")), f"created:>{name}" in q.split()
        ranges.append({"name": name, "href": href, "is_current": is_current})
    return ranges


def _actions(filter: Filter, counts: dict[str, tuple[int, bool]] | None) -> list[dict[str, str]]:
    """What can be done with all that match, and with how many of them."""
    actions = []
    for action, fitting in bulk.STATUSES.items():
        meant = [each for each in fitting if not filter.status or each in filter.status]
        if not meant or any(each not in fitting for each in filter.status):
            continue
        known = [counts[each] for each in meant] if counts else []
        total, is_more = sum(count for count, _ in known), any(more for _, more in known)
        if known and not total:
            continue
        actions.append({"name": action, "count": _counted(total, is_more) if known else ""})
    return actions


def _counted(count: int, is_more: bool) -> str:
    """`999+` where the counting stopped; what was seen before it did not."""
    if not is_more:
        return f"{count:,}"
    return f"{min(count, census.STATUS_LIMIT - 1):,}+" if count else ""


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _list(q: str, cursor: str | None = None) -> str:
    parameters = {name: value for name, value in (("q", q), ("cursor", cursor)) if value}
    return f"{url_for('runs_page.index')}?{urlencode(parameters)}" if parameters else url_for("runs_page.index")
