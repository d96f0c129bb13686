"""What there is besides runs, queues and schedules, to read: workflows, workers, services of beat."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from ...state import services, workers, workflows
from ...state.database import Row
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.told import told
from . import documents
from .documents import moment, value

blueprint = Blueprint("catalogue", __name__, url_prefix="/api/v1")


@blueprint.get("/workflows")
@needs("workflows:read")
@told({200: shapes.catalogue.WorkflowList})
def list_workflows() -> ResponseReturnValue:
    """Lists the workflows that can be started."""
    return jsonify(workflows=known_workflows())


@blueprint.get("/workers")
@needs("workers:read")
@told({200: shapes.catalogue.WorkerList})
def list_workers() -> ResponseReturnValue:
    """Lists the workers that are alive."""
    return jsonify(workers=live_workers())


@blueprint.get("/services")
@needs("workers:read")
@told({200: shapes.catalogue.ServiceList})
def list_services() -> ResponseReturnValue:
    """Lists the services of each beat that lives, with what they did."""
    return jsonify(services=live_services())


def known_workflows() -> list[shapes.catalogue.Workflow]:
    """Those that workers registered, and those of this process that none has registered yet."""
    known = {row["name"]: _workflow(row) for row in workflows.every(database())}
    for local in durable().workflows():
        known.setdefault(local.name, {
            "name": local.name,
            "version": local.version,
            "queue": local.queue.name,
            "schema": local.schema.json_schema(),
            "options": {"max_attempts": local.retry.max_attempts, "priority": local.priority, "ttl_seconds": local.ttl},
            "registered_at": None,
            "is_deliverable": False,
        })  # fmt: skip
    return [known[name] for name in sorted(known)]


def live_workers() -> list[shapes.catalogue.Worker]:
    """The workers that are alive."""
    return [documents.worker(row) for row in workers.alive(database())]


def live_services() -> list[shapes.catalogue.Service]:
    """What the services of each beat that lives did last."""
    return [documents.service(row) for row in services.every(database())]


def _workflow(row: Row) -> shapes.catalogue.Workflow:
    return {
        "name": row["name"],
        "version": row["version"],
        "queue": row["queue"],
        "schema": value(row["schema"]),
        "options": value(row["options"]),
        "registered_at": moment(row["registered_at"]),
        "is_deliverable": row["is_deliverable"],
    }
