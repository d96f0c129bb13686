"""What the code declares, told to Postgres: workflows, queues, schedules and webhook endpoints.

Workers and beats do it when they start, so that a deploy is all it takes. The last one that starts is right.
"""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..state import endpoints, payload, queues, schedules, waits, workflows
from ..state.endpoints import EndpointDeclaration
from ..state.queues import QueueDeclaration
from ..state.schedules import NewSchedule
from ..state.workflows import WorkflowDeclaration
from . import registry
from .errors import UnknownQueue, UsageError
from .schedules.row import Said, new_row
from .schedules.schedule import Cron
from .trigger import Target
from .webhooks.webhook import Endpoint
from .workflow import Workflow

if TYPE_CHECKING:
    from .application import Celeriac

log = logging.getLogger(__name__)


def register(durable: "Celeriac") -> None:
    """Tells Postgres what this process declares. Safe to repeat. Raises StateUnavailable."""
    database, known = durable.database, durable.workflows()
    if known or durable.queues:
        queues.declare(database, _queues(durable, known))
    if known:
        workflows.register(database, [_workflow(durable, each) for each in known])
        declare_schedules(durable, known, database.now())
        subscriptions = [(event, workflow.name) for workflow in known for event in workflow.events]
        waits.subscribe(database, subscriptions, [workflow.name for workflow in known])
    if durable.endpoints:
        endpoints.register(database, [declaration_of(each) for each in durable.endpoints.values()])


def declaration_of(endpoint: Endpoint) -> EndpointDeclaration:
    """A webhook endpoint as it is registered."""
    first = next((route.workflow_name for route in endpoint.routes if route.workflow is not None), None)
    return EndpointDeclaration(endpoint.name, endpoint.preset.name, first, endpoint.config())


def declare_schedules(durable: "Celeriac", known: Sequence[Workflow[..., Any]], now: datetime) -> None:
    """Makes the schedules of these workflows what their code says. Those that stay keep their next tick."""
    declared = {row.key: row for each in known for row in _schedules(each, now)}
    names = [workflow.name for workflow in known]
    fires_at = schedules.declare(durable.database, list(declared.values()), schedules.CODE, names)
    durable.dispatcher.herald.tell_of_schedule(fires_at)


def target_of(durable: "Celeriac", workflow: Workflow[..., Any] | str, hooks_of: tuple[str, ...] = ()) -> Target:
    """What a trigger needs to know of a workflow: from its code, or from what a worker registered.

    Raises UnknownWorkflow with the nearest known name, UsageError where its hooks (it is one of `hooks_of`) go in a
    circle.
    """
    known = registry.workflows().get(workflow) if isinstance(workflow, str) else workflow
    if known is not None:
        return Target(name=known.name, queue=known.queue.name, **_options(durable, known, hooks_of))
    registered = {row["name"]: row for row in workflows.every(durable.database)}
    if workflow not in registered:
        raise registry.unknown(str(workflow), [*registry.workflows(), *registered])
    row = registered[str(workflow)]
    options = {name: value for name, value in payload.decode(row["options"]).items() if name != "retention_days"}
    return Target(name=row["name"], queue=row["queue"], **options)


def when_full_of(durable: "Celeriac", queue: str, workflow: str) -> str:
    """The policy for a full key of a queue that a trigger names; from now on runs of the workflow stand in it.

    Raises UnknownQueue with the nearest known name.
    """
    row = queues.get(durable.database, queue, deaf_seconds=0)
    if row is None and queue in durable.queues:  # declared here, and no worker has told Postgres yet
        queues.declare(durable.database, _queues(durable, []))
        row = queues.get(durable.database, queue, deaf_seconds=0)
    if row is None:
        raise unknown_queue(durable, queue)
    if workflow not in row.workflows:
        queues.join(durable.database, queue, workflow)
    return str(row.limits.get("when_full", "queue"))


def unknown_queue(durable: "Celeriac", name: str) -> UnknownQueue:
    """The error for a name that is no queue's, with the nearest that is."""
    known = [row.name for row in queues.every(durable.database, deaf_seconds=0)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known) or 'none yet'}."
    return UnknownQueue(
        f"there is no queue named {name!r}. {hint} "
        "A queue is declared by a workflow, or by Celeriac(app, queues=[...])."
    )


def _queues(durable: "Celeriac", known: Sequence[Workflow[..., Any]]) -> list[QueueDeclaration]:
    own: dict[str, list[str]] = {}
    by_name = dict(durable.queues)
    for workflow in known:
        if by_name.setdefault(workflow.queue.name, workflow.queue) != workflow.queue:
            raise UsageError(
                f"Celeriac(queues=...) of {durable.app.main} declares {by_name[workflow.queue.name]}, workflow "
                f"{workflow.name!r} declares {workflow.queue}: one queue has one declaration. Use one object in both."
            )
        own.setdefault(workflow.queue.name, []).append(workflow.name)
    declared = []
    for name, queue in by_name.items():
        policy = {} if queue.when_full == "queue" else {"when_full": queue.when_full}
        members = own.get(name, [])
        by = members[0] if members else f"Celeriac(queues=...) of {durable.app.main}"
        declared.append(QueueDeclaration(name, queue.limits.document() | policy, by, members))
    return declared


def _workflow(durable: "Celeriac", workflow: Workflow[..., Any]) -> WorkflowDeclaration:
    return WorkflowDeclaration(
        name=workflow.name,
        version=workflow.version,
        queue=workflow.queue.name,
        schema=workflow.schema.json_schema(),
        options=_options(durable, workflow) | _retention(workflow),
    )


def _options(durable: "Celeriac", workflow: Workflow[..., Any], hooks_of: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "max_attempts": workflow.retry.max_attempts,
        "max_crashes": workflow.max_crashes or durable.settings.max_crashes,
        "priority": workflow.priority,
        "ttl_seconds": workflow.ttl,
        "concurrency_key": workflow.concurrency_key,
        "idempotency": workflow.idempotency,
        "when_full": workflow.queue.when_full,
        "max_duration_seconds": workflow.max_duration,
        "cancel_children": workflow.cancel_children,
        "hooks": _hooks(durable, workflow, (*hooks_of, workflow.name)),
    }


def _hooks(durable: "Celeriac", workflow: Workflow[..., Any], hooks_of: tuple[str, ...]) -> dict[str, Any] | None:
    targets: dict[str, Any] = {}
    for option, hook in workflow.hooks.items():
        name = hook if isinstance(hook, str) else hook.name
        if name in hooks_of:
            circle = " -> ".join((*hooks_of, name))
            raise UsageError(f"the hooks of workflow {hooks_of[0]!r} go in a circle, and would never end: {circle}")
        targets[option] = asdict(target_of(durable, hook, hooks_of))
    return targets or None


def _retention(workflow: Workflow[..., Any]) -> dict[str, float]:
    """What the pruner reads of a workflow."""
    return {} if workflow.retention_days is None else {"retention_days": workflow.retention_days}


def _schedules(workflow: Workflow[..., Any], now: datetime) -> list[NewSchedule]:
    rows = []
    for schedule in workflow.schedules:
        kind = "cron" if isinstance(schedule, Cron) else "every"
        key = f"{workflow.name}: {kind} {schedule.expression} {schedule.timezone}"
        rows.append(new_row(key, schedules.CODE, schedule, Said(workflow=workflow.name), now, None))
    return rows
