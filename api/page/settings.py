"""The page of the settings: who you are, the keys, and who changed what."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...state import api_keys
from ...state.audit import Filter
from ..access.scopes import ANY_KEY, SCOPES, TRIGGER, needs
from ..current import database, durable
from ..exchange.problems import Problem
from ..rest import audit, keys
from ..rest.audit import LIMIT, filter_of
from ..rest.keys import OVERLAP_SECONDS, created, revoked, rotated
from .page import render

blueprint = Blueprint("settings_page", __name__, url_prefix="/settings")

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year", "": "no end"}  # days, as the form has them
FILTERS = ("principal", "object_id")


@blueprint.get("")
@needs(ANY_KEY)
def index() -> ResponseReturnValue:
    """What the key of who looks may see of it."""
    return _page()


@blueprint.post("")
@needs("keys:admin")
def create() -> ResponseReturnValue:
    """Makes a key, and shows its text this once: 201. 422, with what was entered: it cannot be."""
    try:
        row, text = created(request.form.get("name"), _scopes(), _expires_at())
    except Problem as problem:
        if problem.status not in (403, 422):
            raise
        return _page(entered=request.form, fault=problem.detail), problem.status
    return _page(made=keys.document(row) | {"key": text}), 201


@blueprint.post("/keys/<id>/revoke")
@needs("keys:admin")
def revoke(id: str) -> ResponseReturnValue:
    revoked(id)
    return redirect(url_for("settings_page.index", notice="key-revoked"), 303)


@blueprint.post("/keys/<id>/rotate")
@needs("keys:admin")
def rotate(id: str) -> ResponseReturnValue:
    """Shows the text of the key that takes over, this once; the other goes on for a day."""
    try:
        row, text = rotated(id, OVERLAP_SECONDS, None)
    except Problem as problem:
        if problem.status not in (403, 409):
            raise
        return _page(fault=problem.detail), problem.status
    return _page(made=keys.document(row) | {"key": text}), 201


def _page(made: Any = None, entered: Any = None, fault: str | None = None) -> str:
    principal = g.principal
    chosen = {name: request.args[name] for name in FILTERS if request.args.get(name)}
    entries, older = _audit() if principal.may("audit:read") else ([], None)
    return render(
        "settings.html",
        database().now(),
        principal=principal,
        scopes=SCOPES,
        trigger=TRIGGER,
        lifetimes=LIFETIMES,
        keys=[keys.document(row) for row in api_keys.every(database())] if principal.may("keys:admin") else [],
        audit=entries,
        chosen=chosen,
        is_first=not request.args.get("cursor"),
        first=_list(chosen),
        older=_list({**chosen, "cursor": older}) if older else None,
        audit_like=_list,
        made=made,
        entered=entered,
        fault=fault,
        settings=durable().settings,
    )


def _audit() -> tuple[list[Any], str | None]:
    """What the URL asks for; after a form was sent, the newest."""
    return audit.page(filter_of(request.args) if request.method == "GET" else Filter(), LIMIT)


def _list(parameters: dict[str, Any]) -> str:
    base = url_for("settings_page.index")
    return f"{base}?{urlencode(parameters)}#audit" if parameters else f"{base}#audit"


def _scopes() -> list[str]:
    """Those that are ticked, and one for each workflow that is named."""
    names = [name.strip() for name in request.form.get("workflows", "").split(",")]
    return request.form.getlist("scope") + [f"{TRIGGER}:{name}" for name in names if name]


def _expires_at() -> Any:
    days = request.form.get("days", "")
    if days not in LIFETIMES:
        raise Problem(422, f"days={days[:20]!r}: choose one of those that the form has")
    return database().now() + timedelta(days=int(days)) if days else None
