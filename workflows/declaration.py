"""What the code declares, told to Postgres: workflows, queues, schedules and webhook endpoints.

Workers and beats do it when they start, so that a deploy is all it takes. The last one that starts is right.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..state import endpoints, payload, queues, schedules, workflows
from ..state.endpoints import EndpointDeclaration
from ..state.queues import QueueDeclaration
from ..state.schedules import ScheduleDeclaration
from ..state.workflows import WorkflowDeclaration
from . import registry
from .schedule import NEVER, Cron, Schedule, first_due
from .trigger import Target
from .workflow import Workflow

if TYPE_CHECKING:
    from .application import Celeriac

log = logging.getLogger(__name__)


def register(durable: "Celeriac") -> None:
    """Tells Postgres what this process declares. Safe to repeat. Raises StateUnavailable."""
    database, known = durable.database, durable.workflows()
    if known:
        declared = {each.queue: each.name for each in known}
        queues.declare(database, [QueueDeclaration(q.name, q.concurrency, by) for q, by in declared.items()])
        workflows.register(database, [_workflow(durable, each) for each in known])
        declare_schedules(durable, known, database.now())
    if durable.endpoints:
        declarations = [EndpointDeclaration(e.name, e.preset, e.workflow.name) for e in durable.endpoints.values()]
        endpoints.register(database, declarations)


def declare_schedules(durable: "Celeriac", known: Sequence[Workflow[..., Any]], now: datetime) -> None:
    """Makes the schedules of these workflows what their code says. Those that stay keep their next tick."""
    declared = [_schedule(workflow, schedule, now) for workflow in known for schedule in workflow.schedules]
    schedules.declare(durable.database, declared, [workflow.name for workflow in known])


def target_of(durable: "Celeriac", workflow: Workflow[..., Any] | str) -> Target:
    """What a trigger needs to know of a workflow: from its code, or from what a worker registered.

    Raises UnknownWorkflow with the nearest known name.
    """
    known = registry.workflows().get(workflow) if isinstance(workflow, str) else workflow
    if known is not None:
        return Target(name=known.name, queue=known.queue.name, **_options(durable, known))
    registered = {row["name"]: row for row in workflows.every(durable.database)}
    if workflow not in registered:
        raise registry.unknown(str(workflow), [*registry.workflows(), *registered])
    row = registered[str(workflow)]
    return Target(name=row["name"], queue=row["queue"], **payload.decode(row["options"]))


def _workflow(durable: "Celeriac", workflow: Workflow[..., Any]) -> WorkflowDeclaration:
    return WorkflowDeclaration(
        name=workflow.name,
        version=workflow.version,
        queue=workflow.queue.name,
        schema=workflow.schema.json_schema(),
        options=_options(durable, workflow),
    )


def _options(durable: "Celeriac", workflow: Workflow[..., Any]) -> dict[str, Any]:
    return {
        "max_attempts": workflow.retry.max_attempts,
        "max_crashes": workflow.max_crashes or durable.settings.max_crashes,
        "priority": workflow.priority,
        "ttl_seconds": workflow.ttl,
    }


def _schedule(workflow: Workflow[..., Any], schedule: Schedule, now: datetime) -> ScheduleDeclaration:
    kind = "cron" if isinstance(schedule, Cron) else "every"
    return ScheduleDeclaration(
        key=f"{workflow.name}: {kind} {schedule.expression} {schedule.timezone}",
        workflow=workflow.name,
        kind=kind,
        expression=schedule.expression,
        timezone=schedule.timezone,
        catch_up=schedule.catch_up,
        anchor_at=now,
        next_due_at=first_due(schedule, now) or NEVER,
    )
