"""Health: `/livez` says that the process answers, `/readyz` that it can keep its promises."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from ...state import migrate
from ...state.errors import StateUnavailable
from ...workflows.dispatch.buckets import RedisUnavailable
from .. import shapes
from ..access.scopes import PUBLIC, needs
from ..current import database, durable
from ..exchange.told import told

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
@needs(PUBLIC)
@told({200: shapes.catalogue.Liveness})
def live() -> ResponseReturnValue:
    """Says that the process answers.

    Without I/O: a server whose database is away must not be killed for it.
    """
    return jsonify(status="alive")


@blueprint.get("/readyz")
@needs(PUBLIC)
@told({200: shapes.catalogue.Readiness, 503: shapes.catalogue.Readiness})
def ready() -> ResponseReturnValue:
    """Says whether the process can keep its promises.

    200: triggers and webhooks can be stored: `ready`, or `degraded` without Redis; `spooling` while Postgres is away
    and endpoints have a spool, which must then get their deliveries. 503: `unavailable`.
    """
    checks = {"postgres": _postgres()}
    checks["schema"] = _schema() if checks["postgres"] == "ok" else "unknown"
    checks["redis"] = _redis()
    degraded = [name for name, told in checks.items() if told != "ok"]
    if checks["postgres"] != "ok" and any(endpoint.spool for endpoint in durable().endpoints.values()):
        return jsonify(status="spooling", checks=checks, degraded=degraded)
    if checks["schema"] != "ok":
        return jsonify(status="unavailable", checks=checks, degraded=degraded), 503, {"Retry-After": "1"}
    return jsonify(status="degraded" if degraded else "ready", checks=checks, degraded=degraded)


def _postgres() -> str:
    try:
        database().now()
    except StateUnavailable:
        return "unreachable"
    return "ok"


def _schema() -> str:
    try:
        return "migration pending" if migrate.pending(database()) else "ok"
    except StateUnavailable:
        return "unreachable"


def _redis() -> str:
    try:
        durable().buckets.ping()
    except RedisUnavailable:
        return "unreachable"
    return "ok"
