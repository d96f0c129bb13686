"""The monitoring page of orders to move many runs: counted and confirmed first, then watched, aborted if need be."""

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import bulk as orders
from ...state import runs
from ...state.ids import new_id, public
from ...state.runs import Filter
from ...workflows.operate import bulk
from ..access.scopes import needs
from ..current import database
from ..exchange.problems import Problem
from ..rest import documents
from ..rest.bulk import NEWEST, aborted, action_of, id_of, matched, ordered
from ..rest.documents import Document
from ..rest.listing import FILTERS, filter_of, query_of
from .page import render

blueprint = Blueprint("bulk_page", __name__, url_prefix="/bulk")

SAMPLE = 5  # runs that are shown before an order is given


@blueprint.get("")
@needs("runs:read")
def index() -> ResponseReturnValue:
    return render("bulk.html", database().now(), orders=[_shown(row) for row in orders.newest(database(), NEWEST)])


@blueprint.get("/new")
@needs("runs:write")
def confirm() -> ResponseReturnValue:
    """The dry run: how many runs an order would be for, and the newest of them."""
    action, filter = action_of(request.args.get("action")), _filter(request.args)
    return render(
        "bulk_new.html",
        database().now(),
        id=public("blk", new_id()),
        action=action,
        chosen=query_of(documents.run_filter(filter)).to_dict(),
        matched=matched(action, filter),
        count_limit=bulk.COUNT_LIMIT,
        sample=runs.find(database(), bulk.checked(action, filter), SAMPLE),
    )


@blueprint.post("")
@needs("runs:write")
def order() -> ResponseReturnValue:
    """The form has the id of the order to be: sent twice it is one order."""
    ordered(action_of(request.form.get("action")), _filter(request.form), id_of(request.form.get("id", "")))
    return redirect(url_for("bulk_page.index", notice="ordered"), 303)


@blueprint.post("/<id>/abort")
@needs("runs:write")
def abort(id: str) -> ResponseReturnValue:
    try:
        aborted(id)
    except Problem as problem:
        if problem.status != 409:
            raise
        return redirect(url_for("bulk_page.index", notice="too-late"), 303)
    return redirect(url_for("bulk_page.index", notice="aborted"), 303)


def _filter(given: "MultiDict[str, str]") -> Filter:
    """What the filters among the fields of a form, or of a query string, say; runs that were picked are meant alone.
    Raises Problem 400."""
    if picked := given.getlist("id", type=str) if request.method == "GET" else []:
        return filter_of(MultiDict([("q", f"id:{','.join(picked)}")]))
    return filter_of(MultiDict([(name, value) for name, value in given.items(multi=True) if name in FILTERS and value]))


def _shown(row: orders.BulkRow) -> Document:
    """An order as the API has it, with how many runs it has looked at, and the list of what it is for."""
    document = documents.bulk(row)
    return document | {
        "looked_at": row.done + row.skipped + row.failed,
        "query": query_of(document["filter"]).to_dict(),
    }
