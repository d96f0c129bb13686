"""The audit: each request that could change something is written down, with who asked and how it was answered.

No bodies and no query strings, so no secrets. A webhook, and the callback of a token, leave other traces: a delivery,
and a line of the history of its run. Who has no key leaves only a line of the log of this server. Who logs in, tries to
or logs out is here, too.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from flask import Blueprint, Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue

from ...state import audit
from ...state.audit import LAST_ID, AuditEntry, Filter
from ...state.database import Row
from ...workflows.errors import StateUnavailable
from .. import shapes
from ..access.guard import SAFE_METHODS
from ..access.principal import NOBODY, Principal
from ..access.scopes import needs
from ..current import database
from ..exchange.body import nearest
from ..exchange.problems import SECRET, Problem
from ..exchange.told import told
from . import documents
from .listing import limit_of
from .options import moment

log = logging.getLogger(__name__)

blueprint = Blueprint("audit", __name__, url_prefix="/api/v1/audit")

LIMIT = 50
PARAMETERS = ("principal", "object_id", "from", "to", "limit", "cursor")
TEXT_LIMIT = 500  # characters of a path, or of an id


@blueprint.get("")
@needs("audit:read")
@told({200: shapes.keys.AuditPage}, query=shapes.queries.AuditQuery)
def find() -> ResponseReturnValue:
    """Lists who changed what, the newest first."""
    for name in request.args:
        if name not in PARAMETERS:
            raise Problem(400, f"{name!r} is no filter of the audit{nearest(name, PARAMETERS)}", "usage")
    limit = limit_of(request.args.get("limit") or str(LIMIT), "limit")
    found, next_cursor = page(filter_of(request.args), limit)
    return jsonify(audit=found, next_cursor=next_cursor)


def page(filter: Filter, limit: int) -> tuple[list[shapes.keys.AuditEntry], str | None]:
    """One page, and the cursor of the next."""
    rows = audit.newest(database(), filter, limit + 1)
    next_cursor = str(rows[limit - 1]["id"]) if len(rows) > limit else None
    return [document(row) for row in rows[:limit]], next_cursor


def filter_of(query: Mapping[str, str]) -> Filter:
    """What a query string asks for. Raises Problem 400."""
    given = {name: query[name] for name in ("principal", "object_id") if query.get(name)}
    if any("\0" in text for text in given.values()):
        raise Problem(400, "a NUL character is in no entry", "usage")
    since, until = _moment(query, "from"), _moment(query, "to")
    return Filter(since=since, until=until, before_id=_cursor(query.get("cursor")), **given)


def document(row: Row) -> shapes.keys.AuditEntry:
    principal = row["principal"]
    return {
        "id": str(row["id"]),
        "at": documents.moment(row["at"]),
        "actor": row["actor"],
        "principal": principal,
        "key_id": principal if principal.startswith("key_") else None,
        "method": row["method"],
        "path": row["path"],
        "route": row["route"],
        "object_id": row["object_id"],
        "status": row["status"],
        "request_id": row["request_id"],
    }


def install(app: Flask) -> None:
    """Makes `app` write down what it was asked for, before it answers."""
    app.after_request(_write_down)


def _write_down(response: Response) -> Response:
    principal: Principal | None = g.get("principal")
    is_login = g.get("is_login", False)  # some of these are a GET, and some of nobody
    if principal is None or not (is_login or (request.method not in SAFE_METHODS and principal.kind != NOBODY)):
        return response
    entry = AuditEntry(
        principal=principal.identity,
        actor=principal.name,
        method=request.method,
        path=SECRET if request.path.startswith(SECRET) else _clean(request.path),
        route=str(request.url_rule) if request.url_rule else None,
        object_id=_object_id(response),
        status=response.status_code,
        request_id=g.request_id,
    )
    if response.status_code == 503:  # Postgres is away, most likely, and nothing was done: the answer must not wait
        log.warning("not in the audit: %s", entry)
        return response
    try:
        audit.record(database(), entry)
    except StateUnavailable as error:
        log.error("not in the audit, since Postgres is away (%s): %s", error, entry)
    return response


def _object_id(response: Response) -> str | None:
    """What it made, as its answer says, else what it was for."""
    made = g.get("object_id")
    if made is None and response.status_code in (200, 201, 202) and "Location" in response.headers:
        made = unquote(response.headers["Location"].rpartition("/")[2])
    arguments: dict[str, Any] = request.view_args or {}
    found = made or next(iter(arguments.values()), None)
    return None if found is None else _clean(str(found))


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    try:
        return moment(text, name) if text else None
    except Problem as problem:
        raise Problem(400, problem.detail, "usage") from None


def _cursor(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) > LAST_ID:
        raise Problem(400, "this cursor is not one that was given out: start again without it", "usage")
    return int(text)


def _clean(text: str) -> str:
    """As Postgres can keep it."""
    return text.replace("\0", "")[:TEXT_LIMIT].encode("utf-8", "replace").decode()
