"""How many runs there are of what a list shows: by status, and over the time in which they were created.

Both are decoration, and bounded: counts go up to a limit, and there are none where Postgres would need too long.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from .database import Database, Row
from .runs import Filter
from .status import STATUSES

PATIENCE_SECONDS = 0.25
STATUS_LIMIT = 1000  # runs of one status that are counted
SEEN_LIMIT = 20_000  # runs that are looked at for the statuses of a narrowed list
SPAN_LIMIT = 5000  # runs of one span of time that are counted


def by_status(db: Database, filter: Filter) -> dict[str, tuple[int, bool]] | None:
    """Status: how many, and whether there may be more. The filter's own status does not count, nor does its cursor."""
    wanted = replace(filter, status=(), after=None)
    where, values = wanted.where()
    if wanted.is_open:
        parts = [
            f"select '{each}' as status, count(*) as runs from (select from celeriac.runs "
            f"where {where} and status = '{each}' limit {STATUS_LIMIT}) as seen"
            for each in STATUSES
        ]
        rows = db.briefly(" union all ".join(parts), PATIENCE_SECONDS, **values)
        return None if rows is None else {row["status"]: (row["runs"], row["runs"] >= STATUS_LIMIT) for row in rows}
    rows = db.briefly(
        "select status, count(*) as runs, sum(count(*)) over () as seen from (select status from celeriac.runs "
        f"where {where} order by created_at desc, id desc limit {SEEN_LIMIT}) as seen group by status",
        PATIENCE_SECONDS,
        **values,
    )
    if rows is None:
        return None
    counts = {row["status"]: (row["runs"], row["seen"] >= SEEN_LIMIT) for row in rows}
    is_cut = any(may_be_more for _, may_be_more in counts.values())
    return {each: counts.get(each, (0, is_cut)) for each in STATUSES}


def over_time(db: Database, filter: Filter, edges: Sequence[datetime]) -> list[Row] | None:
    """at, until, runs and failed of each span between two of the `edges`; runs go up to SPAN_LIMIT."""
    where, values = replace(filter, after=None).where()
    return db.briefly(
        "select span.at, span.until, found.runs, found.failed from "
        "unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) as span (at, until) cross join lateral ("
        "select count(*) as runs, count(*) filter (where status in ('failed', 'timed_out', 'crashed')) as failed "
        f"from (select status from celeriac.runs where {where} and created_at >= span.at and created_at < span.until "
        f"limit {SPAN_LIMIT}) as seen) as found order by span.at",
        PATIENCE_SECONDS,
        begins=list(edges[:-1]),
        ends=list(edges[1:]),
        **values,
    )
