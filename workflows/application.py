"""`Celeriac(app)`: what makes a Celery app durable. Opens connections when they are first needed, and closes them."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery

from ..state import deliveries, endpoints, payload, queues, runs, schedules, workflows
from ..state.database import Database, Executor
from ..state.endpoints import EndpointDeclaration
from ..state.ids import public
from ..state.payload import Json
from ..state.queues import QueueDeclaration
from ..state.runs import RunRow
from ..state.workflows import WorkflowDeclaration
from . import registry
from .buckets import Buckets
from .dispatcher import Dispatcher
from .errors import UsageError
from .publisher import Publisher
from .run import Run
from .settings import Settings
from .step import return_annotation
from .trigger import Options, Source, Target, new_run, parent_execution, start, start_child
from .webhook import Endpoint, declare_endpoint
from .worker import install, worker_task
from .workflow import Workflow

if TYPE_CHECKING:
    from .worker import Lifeline, WorkerProcess

log = logging.getLogger(__name__)


class Celeriac:
    """Binds the workflows of this process to a Celery app, as tasks of their names.

    `durable = Celeriac(app)`, anywhere before the worker starts. It reads its settings (`CELERIAC_DATABASE_URL`,
    `CELERIAC_REDIS_URL`, ... or `app.conf.celeriac_*`) when they are first needed, and connects only then.
    """

    def __init__(self, app: Celery):
        self.app = app
        self.worker: WorkerProcess | None = None  # in the processes of a Celery worker
        self.lifeline: Lifeline | None = None  # in the main process of a Celery worker
        self.endpoints: dict[str, Endpoint] = {}
        registry.bind(self)
        install(app)
        if self._is_finalized():
            self._bind_all()
        else:
            app.on_after_finalize.connect(self._bind_all, weak=False)

    @cached_property
    def settings(self) -> Settings:
        """What is set, by environment and app.conf. Raises UsageError for a name that is no setting."""
        return Settings.load(self.app.conf)

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.need("database_url"))

    @cached_property
    def buckets(self) -> Buckets:
        return Buckets(self._redis_url(), self.settings.redis_timeout_seconds)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        publisher = Publisher(self.app, self.settings.redis_timeout_seconds)
        return Dispatcher(self.database, self.buckets, publisher, self.settings)

    def bind(self, workflow: Workflow[..., Any]) -> None:
        """Makes a workflow a task of this app, if the app is past the point where it collects them."""
        if self._is_finalized():
            self.app.register_task(worker_task(self.app, workflow))

    def trigger(self, name: str, payload_: Mapping[str, Any] | None = None, **options: Any) -> Run:
        """Starts a run by name, also of a workflow whose code is not here, but at workers that registered it.

        Raises UnknownWorkflow with the nearest name, PayloadInvalid, TooLarge, IdempotencyConflict, StateUnavailable.
        """
        return self.start(name, payload_ or {}, options)

    def start(
        self,
        workflow: Workflow[..., Any] | str,
        payload_: Mapping[str, Any],
        options: Mapping[str, Any],
        source: Source | None = None,
    ) -> Run:
        """Starts a run. Inside a run, and unless `source` says otherwise, it is a child of that run."""
        target, text, parsed = self._target(workflow), self._text(workflow, payload_), Options.of(options)
        execution = parent_execution()
        if execution is not None and source is None:
            return self._handle(start_child(self, execution, target, text, parsed))
        return self._start([(target, text)], parsed, source or Source())[0]

    def start_many(
        self,
        workflow: Workflow[..., Any] | str,
        payloads: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
        source: Source | None = None,
    ) -> list[Run]:
        """Starts a run for each payload: one INSERT, one call to Redis for each queue."""
        if parent_execution() is not None and source is None:
            return [self.start(workflow, each, options) for each in payloads]
        target, parsed = self._target(workflow), Options.of(options)
        if parsed.idempotency_key is not None and len(payloads) > 1:
            raise UsageError("one idempotency key cannot stand for several runs: start them one by one")
        return self._start([(target, self._text(workflow, each)) for each in payloads], parsed, source or Source())

    def start_for_delivery(
        self, workflow: Workflow[..., Any], payload_: Mapping[str, Any], delivery_id: UUID
    ) -> Run | None:
        """Starts the run of a webhook delivery in one transaction with the delivery's own move. None: it had one."""
        target, text = self._target(workflow), self._text(workflow, payload_)
        source = Source("webhook", public("dlv", delivery_id))
        new = new_run(target, text, Options(), source, self.settings.idempotency_ttl_seconds)
        with self.database.transaction() as transaction:
            if not deliveries.route(transaction, delivery_id, new.id):
                return None
            started = start(transaction, [new])
        self.dispatcher.offer(row for row, is_offered in started if is_offered)
        return self._handle(started[0][0])

    def start_for_tick(
        self, transaction: Executor, workflow: str, text: str, schedule_id: UUID, due_at: datetime
    ) -> RunRow | None:
        """Starts the run of a schedule's tick, within the transaction that advances the schedule; the caller offers it
        after the commit. None: this tick has fired before."""
        target = self._target(workflow)
        if workflow in registry.workflows():
            registry.get(workflow).check(Json(text))
        options = Options(metadata={"scheduled_for": due_at.isoformat()})
        source = Source("schedule", public("sch", schedule_id))
        new = new_run(target, Json(text), options, source, self.settings.idempotency_ttl_seconds)
        if not schedules.tick(transaction, schedule_id, due_at, new.id):
            return None
        return start(transaction, [new])[0][0]

    def get(self, id: UUID) -> Run | None:
        """The run of this id, or None."""
        row = runs.get(self.database, id)
        return self._handle(row) if row else None

    def cancel(self, id: UUID, actor: str | None = None) -> RunRow | None:
        """Cancels a run: at once, or at its next step when it is running. None: it has ended already, or is unknown."""
        row = runs.cancel(self.database, id, actor)
        if row is not None and row.is_final:
            self.dispatcher.withdraw(row)
        return row

    def retry(self, id: UUID, actor: str | None = None) -> RunRow | None:
        """The same run from its failed step. None: it is not failed, timed_out or crashed."""
        row = runs.retry(self.database, id, actor)
        if row is not None:
            self.dispatcher.offer([row])
        return row

    def webhook(self, name: str, *, verify: str, secret: str | Sequence[str] = (), **options: Any) -> Any:
        """Declares a webhook endpoint: see `celeriac.workflows.webhook.declare_endpoint`."""
        return declare_endpoint(self, name, verify=verify, secret=secret, **options)

    def workflows(self) -> list[Workflow[..., Any]]:
        """The workflows that are defined in this process."""
        return list(registry.workflows().values())

    def register(self) -> None:
        """Tells Postgres what this process can execute: workflows and queues (schedules: `beat` and workers do)."""
        known = self.workflows()
        if known:
            queues.declare(self.database, [*{each.queue.name: _queue(each) for each in known}.values()])
            workflows.register(self.database, [self._declaration(each) for each in known])
        if self.endpoints:
            declared = [EndpointDeclaration(e.name, e.preset, e.workflow.name) for e in self.endpoints.values()]
            endpoints.register(self.database, declared)

    def close(self) -> None:
        """Closes what was opened. Workflows no longer start their runs through it."""
        registry.unbind(self)
        for opened in ("dispatcher", "database", "buckets"):
            if opened in self.__dict__:
                getattr(self, opened).close()

    def _start(self, wanted: Sequence[tuple[Target, Json]], options: Options, source: Source) -> list[Run]:
        ttl = self.settings.idempotency_ttl_seconds
        started = start(self.database, [new_run(target, text, options, source, ttl) for target, text in wanted])
        self.dispatcher.offer(row for row, is_offered in started if is_offered)
        return [self._handle(row) for row, _ in started]

    def _handle(self, row: RunRow) -> Run:
        known = registry.workflows().get(row.workflow)
        return Run(self, row, return_annotation(known.function) if known else Any)

    def _text(self, workflow: Workflow[..., Any] | str, payload_: Mapping[str, Any]) -> Json:
        name = workflow if isinstance(workflow, str) else workflow.name
        text = payload.encode(payload_, f"the payload of workflow {name!r}", self.settings.payload_limit_bytes)
        if isinstance(workflow, str):
            workflow = registry.workflows().get(name, workflow)
        if isinstance(workflow, Workflow):
            workflow.check(text)
        return text

    def _target(self, workflow: Workflow[..., Any] | str) -> Target:
        known = registry.workflows().get(workflow) if isinstance(workflow, str) else workflow
        if known is not None:
            return Target(name=known.name, queue=known.queue.name, **self._options(known))
        registered = {row["name"]: row for row in workflows.every(self.database)}
        if workflow not in registered:
            raise registry.unknown(str(workflow), [*registry.workflows(), *registered])
        row = registered[str(workflow)]
        return Target(name=row["name"], queue=row["queue"], **payload.decode(row["options"]))

    def _options(self, workflow: Workflow[..., Any]) -> dict[str, Any]:
        return {
            "max_attempts": workflow.retry.max_attempts,
            "max_crashes": workflow.max_crashes or self.settings.max_crashes,
            "priority": workflow.priority,
            "ttl_seconds": workflow.ttl,
        }

    def _declaration(self, workflow: Workflow[..., Any]) -> WorkflowDeclaration:
        schema = workflow.schema.json_schema()
        return WorkflowDeclaration(
            workflow.name, workflow.version, workflow.queue.name, schema, self._options(workflow)
        )

    def _bind_all(self, *_: Any, **__: Any) -> None:
        for workflow in self.workflows():
            self.bind(workflow)

    def _is_finalized(self) -> bool:
        return bool(getattr(self.app, "finalized", False))

    def _redis_url(self) -> str:
        broker = str(self.app.conf.broker_url or "")
        if self.settings.redis_url or broker.startswith(("redis://", "rediss://", "unix://")):
            return self.settings.redis_url or broker
        return self.settings.need("redis_url")


def _queue(workflow: Workflow[..., Any]) -> QueueDeclaration:
    return QueueDeclaration(workflow.queue.name, workflow.queue.concurrency, workflow.name)


def trigger(name: str, payload: Mapping[str, Any] | None = None, **options: Any) -> Run:
    """Starts a run by the name of its workflow: `trigger("sync-customer-data", {"customer_id": "c1"})`.

    Options and errors as for `Workflow.apply_async` and `Celeriac.trigger`.
    """
    return registry.durable().trigger(name, payload, **options)
