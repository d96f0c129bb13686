"""`Celeriac(app)`: what makes a Celery app durable. Opens connections when they are first needed, and closes them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery

from ..state import payload, runs
from ..state.database import Database, Revisions, Transaction, after_commit
from ..state.django import DjangoTransaction
from ..state.ids import parse
from ..state.payload import Json
from ..state.runs import NewRun, RunRow
from . import registry
from .canvas.call import link_of, start_canvas
from .canvas.results import result_of_row
from .declaration import register, target_of, when_full_of
from .dispatch.buckets import Buckets
from .dispatch.connection import connect, is_redis
from .dispatch.dispatcher import Dispatcher
from .dispatch.outbox import Outbox
from .dispatch.publisher import Publisher
from .engine.execution import Execution
from .errors import UsageError
from .operate.broker import Broker
from .operate.control import QueueControl
from .operate.remote import Remote
from .operate.why import Why, explain
from .operate.workers import Workers
from .options import Options
from .outbound.address_guard import Guard
from .outbound.alerts import AlertControl
from .outbound.subscriptions import SubscriptionControl
from .queue import Queue
from .run import Child, Run
from .schedules.control import ScheduleControl
from .settings import Settings
from .signals.code_spans import CodeSpans
from .signals.logbook import Logbook
from .signals.redaction import Redaction
from .step import return_annotation
from .tasks.adoption import adopt, shop_tasks
from .tasks.calls import run_id
from .tasks.codec import TAGGED
from .tasks.durable_task import declare_task
from .tasks.results import RunBackend
from .tasks.task_workflow import TaskWorkflow
from .trigger import Source, Target, new_run, parent_execution, start, start_children
from .waits import deliver_message
from .webhooks.endpoints import Endpoints
from .webhooks.presets import Preset
from .webhooks.webhook import Declared, Endpoint, declare_endpoint
from .worker import install, worker_task
from .workflow import Workflow

if TYPE_CHECKING:
    from .worker import Lifeline, WorkerProcess

log = logging.getLogger(__name__)

Archive = Callable[[str, Sequence[dict[str, Any]]], None]  # kind ("runs", "deliveries") and documents


class Celeriac:
    """Binds the workflows of this process to a Celery app, as tasks of their names.

    `durable = Celeriac(app)`, anywhere before the worker starts. It reads its settings (`CELERIAC_DATABASE_URL`,
    `CELERIAC_REDIS_URL`, ... or `app.conf.celeriac_*`) when they are first needed, and connects only then. `queues` are
    those that no workflow has as its own, and triggers name: `Celeriac(app, queues=[Queue("bulk", concurrency=2)])`.
    `archive(kind, documents)` gets runs and deliveries before beat deletes them; where it raises, they stay.
    """

    def __init__(self, app: Celery, queues: Sequence[Queue] = (), archive: Archive | None = None):
        self.app = app
        self.queues = {queue.name: queue for queue in queues}  # that no workflow has, for triggers that name them
        self.archive = archive
        self.worker: WorkerProcess | None = None  # in the processes of a Celery worker
        self.lifeline: Lifeline | None = None  # in the main process of a Celery worker
        self.endpoints: dict[str, Endpoint] = {}
        self.standing: set[tuple[str, str]] = (
            set()
        )  # queues and tasks that Postgres was told of, see `tasks/targets.py`
        registry.bind(self)
        install(app)
        adopt(app)
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
        url, timeout_seconds = self._redis_url(), self.settings.redis_timeout_seconds
        # For the broker's own server TLS is what kombu makes of all its options.
        use_ssl = self.app.connection_for_write(url).ssl if url == self.broker_url else None
        options = self.app.conf.broker_transport_options
        return Buckets(partial(connect, url, timeout_seconds, transport_options=options, use_ssl=use_ssl))

    @cached_property
    def dispatcher(self) -> Dispatcher:
        publisher = Publisher(self.app, self.settings.redis_timeout_seconds)
        return Dispatcher(self.database, self.buckets, publisher, self.settings)

    @cached_property
    def redaction(self) -> Redaction:
        """What is hidden wherever it is written down."""
        return Redaction.of(self)

    @cached_property
    def logbook(self) -> Logbook:
        """Where the logs of runs go."""
        return Logbook(self)

    @cached_property
    def code_spans(self) -> CodeSpans:
        """Where the spans go that code makes inside runs."""
        return CodeSpans(self)

    @cached_property
    def results(self) -> RunBackend:
        """States and results of durable tasks, for Celery's callers."""
        return RunBackend(self.app)

    @cached_property
    def remote(self) -> Remote:
        """Celery's remote control."""
        return Remote(self.app, self.settings.redis_timeout_seconds)

    @property
    def remote_workers(self) -> Workers:
        """What Celery workers tell of themselves, and what operators have them do."""
        return Workers(self)

    @property
    def broker(self) -> Broker:
        """The lists of Celery's broker."""
        return Broker(self)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self)

    def bind(self, workflow: Workflow[..., Any]) -> None:
        """Makes a workflow a task of this app, if the app is past the point where it collects them."""
        if self._is_finalized() and not isinstance(workflow, TaskWorkflow):
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
        """Starts a run. Inside a run, and unless `source` says otherwise, it is a child of that run.

        With `session` among the options (an SQLAlchemy session or connection on the same database, or the connection of
        Django) the start is part of the caller's transaction.
        """
        said, session = dict(options), options.get("session")
        said.pop("session", None)
        parsed, execution = Options.of(said), parent_execution() if source is None and session is None else None
        if execution is not None:
            return self._children(execution, [self._prepare_child(execution, workflow, payload_, parsed)])[0]
        return self.launch(self.prepare(workflow, payload_, parsed, source or Source()), None, session)

    def launch(self, new: NewRun, parent: Execution | None = None, session: Any = None) -> Run:
        """Starts a run that is prepared: as a child of a run that is executed here, or in the transaction of a
        session."""
        if parent is not None:
            return self._children(parent, [new])[0]
        if session is not None:
            return self._start_with(session, new)
        return self.offer(start(self.database, [new]))[0]

    def canvas(self, signature: Any, **options: Any) -> Run:
        """Starts a canvas, `chain(...)`, `group(...)`, `chord(...)`, as one run: each of its tasks is a run, started
        once, and its result a checkpoint. `.result()` gives what `.get()` would in Celery.

        Where a task fails the run fails with its error; `retry` starts again what failed, and nothing else. `options`
        are those of any trigger: idempotency_key, countdown, tags, session and others. Inside a run it is a child.
        Raises UsageError and UnknownWorkflow for a node that cannot be, NotSerializable, TooLarge, StateUnavailable.
        """
        return start_canvas(registry.acting(self), signature, options)

    def canvas_result(self, id: str) -> Any:
        """The run of a canvas as Celery's callers know it: an AsyncResult, or a GroupResult where it gives a list.
        None: there is no canvas of this id."""
        row = runs.get(self.database, run_id(id))
        return None if row is None or row.workflow != runs.CANVAS else result_of_row(self, row, id)

    def linked_canvas(self, signature: Any, takes: str) -> dict[str, Any]:
        """What the hooks of a run say for a canvas that its end starts. Raises as `canvas` does."""
        return link_of(self, signature, takes)

    def start_many(
        self,
        workflow: Workflow[..., Any] | str,
        payloads: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
        source: Source | None = None,
    ) -> list[Run]:
        """Starts a run for each payload: one INSERT, one call to Redis for each queue."""
        parsed, execution = Options.of(options), parent_execution()
        if execution is not None and source is None:
            own = [self._prepare_child(execution, workflow, each, parsed) for each in payloads]
            return self._children(execution, own)
        for name in ("idempotency_key", "debounce"):
            if getattr(parsed, name) is not None and len(payloads) > 1:
                raise UsageError(f"one {name} cannot stand for several runs: start them one by one")
        new = [self.prepare(workflow, each, parsed, source or Source()) for each in payloads]
        return self.offer(start(self.database, new))

    def _prepare_child(
        self, execution: Execution, workflow: Workflow[..., Any] | str, payload_: Mapping[str, Any], options: Options
    ) -> NewRun:
        # What Postgres has to say of a workflow that is not this process's own, however long that is away.
        return execution.outlast(lambda: self.prepare(workflow, payload_, options, _child_of(execution)))

    def prepare(
        self, workflow: Workflow[..., Any] | str, payload_: Mapping[str, Any], options: Options, source: Source
    ) -> NewRun:
        """The row of a run to be started, checked and not yet there: for those who start it in a transaction of theirs.

        Raises UnknownWorkflow, UnknownQueue, PayloadInvalid, NotSerializable, TooLarge, and AddressRefused for a
        callback_url that nothing is sent to.
        """
        if options.callback_url is not None:
            Guard.of(self.settings).place(options.callback_url)
        target, text = target_of(self, workflow), self.payload_text(workflow, payload_)
        if options.queue is not None:
            target = replace(target, when_full=when_full_of(self, options.queue, target.name))
        return new_run(target, text, options, source, self.settings.idempotency_ttl_seconds)

    def payload_text(self, workflow: Workflow[..., Any] | str, payload_: Mapping[str, Any]) -> Json:
        """The payload as it is stored. Raises NotSerializable, TooLarge; PayloadInvalid where the code is at hand."""
        name = workflow if isinstance(workflow, str) else workflow.name
        text = payload.encode(payload_, f"the payload of workflow {name!r}", self.settings.payload_limit_bytes)
        if isinstance(workflow, str):
            workflow = registry.workflows().get(name, workflow)
        if isinstance(workflow, Workflow):
            workflow.check(text)
        return text

    def offer(self, started: Sequence[RunRow]) -> list[Run]:
        """Offers committed runs to Redis, and returns their handles."""
        self.dispatcher.offer(started)
        return [self._handle(row) for row in started]

    def get(self, id: UUID | str) -> Run | None:
        """The run of this id, or None. Raises ValueError for a text that is no id of a run."""
        row = runs.get(self.database, parse("run", id) if isinstance(id, str) else id)
        return self._handle(row) if row else None

    def send(self, id: UUID, value: Any, topic: str = "message") -> None:
        """Sends a message to a run: see `Run.send`."""
        deliver_message(self, id, topic, value)

    def queue(self, name: str, revisions: Revisions = None) -> QueueControl:
        """What an operator does with a queue: `durable.queue("crm").pause(actor="ada")`. Raises UnknownQueue."""
        return QueueControl(self, name, revisions)

    @cached_property
    def inbox(self) -> Endpoints:
        """The webhook endpoints, also those that people made, and what an operator does with one."""
        return Endpoints(self)

    def target(self, workflow: Workflow[..., Any] | str) -> Target:
        """What a trigger needs to know of a workflow. Raises UnknownWorkflow."""
        return target_of(self, workflow)

    def schedule(self, key: str, revisions: Revisions = None) -> ScheduleControl:
        """One schedule, made and changed at run time: `durable.schedule("report of c1").create(report, Cron(...))`."""
        return ScheduleControl(self, key, revisions)

    def subscription(self, name: str) -> SubscriptionControl:
        """Who is told, by a signed webhook, what happens here:
        `durable.subscription("crm").create("https://crm.example/hook", ["run.failed"])`."""
        return SubscriptionControl(self, name)

    def alert(self, name: str) -> AlertControl:
        """Who is told, by a webhook, Slack or mail, that something goes wrong:
        `durable.alert("ops").create("slack", "https://hooks.slack.com/services/...")`."""
        return AlertControl(self, name)

    def why(self, id: UUID) -> Why | None:
        """Why a run does not run: what it waits for now, gate by gate. None: it is unknown."""
        row = runs.get(self.database, id)
        return explain(self, row) if row else None

    def webhook(self, name: str, *, verify: str | Preset, secret: str | Sequence[str] = (), **options: Any) -> Declared:
        """Declares a webhook endpoint: see `celeriac.workflows.webhooks.webhook.declare_endpoint`."""
        return declare_endpoint(self, name, verify=verify, secret=secret, **options)

    def workflows(self) -> list[Workflow[..., Any]]:
        """The workflows that are defined in this process, and the durable tasks of the app."""
        known = registry.workflows().values()
        return [each for each in known if not isinstance(each, TaskWorkflow) or each.durable is self]

    def tasks(self) -> list[str]:
        """The names of what a worker of this app can execute for a run: its workflows, and every task of the shop."""
        for task in shop_tasks(self.app):
            declare_task(self, task)
        return sorted({each.name for each in self.workflows()} | {task.name for task in shop_tasks(self.app)})

    def register(self) -> None:
        """Tells Postgres what the code of this process declares. Raises StateUnavailable."""
        register(self)

    def close(self) -> None:
        """Closes what was opened. Workflows no longer start their runs through it."""
        registry.unbind(self)
        for opened in ("logbook", "dispatcher", "database", "buckets"):
            if opened in self.__dict__:
                getattr(self, opened).close()

    def _start_with(self, session: Any, new: NewRun) -> Run:
        try:
            django = DjangoTransaction.of(session)
            transaction = django or Transaction.of(session)
        except TypeError as error:
            raise UsageError(str(error)) from None
        row = start(transaction, [new])[0]
        if django is not None:
            django.after_commit(lambda: self.dispatcher.offer([row]))
        else:
            after_commit(session, lambda: self.dispatcher.offer([row]))
        return self._handle(row)

    def _handle(self, row: RunRow) -> Run:
        return Run(self, row, _annotation_of(row.workflow))

    def _children(self, execution: Execution, new: Sequence[NewRun]) -> list[Run]:
        return [
            Run(self, row, _annotation_of(run.workflow), Child(id, run.workflow, execution.run.id, key))
            for run, (key, id, row) in zip(new, start_children(self, execution, new), strict=True)
        ]

    def _bind_all(self, *_: Any, **__: Any) -> None:
        for task in shop_tasks(self.app):
            declare_task(self, task)
        for workflow in self.workflows():
            self.bind(workflow)

    def _is_finalized(self) -> bool:
        return bool(getattr(self.app, "finalized", False))

    @property
    def broker_url(self) -> str:
        """The broker's URL; of several the first is the first."""
        broker = self.app.conf.broker_url or ""
        return broker if isinstance(broker, str) else ";".join(broker)

    def _redis_url(self) -> str:
        broker = self.broker_url
        if self.settings.redis_url or is_redis(broker):
            return self.settings.redis_url or broker
        return self.settings.need("redis_url")


def _child_of(execution: Execution) -> Source:
    return Source("parent", execution.id)


def _annotation_of(workflow: str) -> Any:
    known = registry.workflows().get(workflow)
    return TAGGED if known is None or known.speaks_celery else return_annotation(known.function)


def trigger(name: str, payload: Mapping[str, Any] | None = None, **options: Any) -> Run:
    """Starts a run by the name of its workflow: `trigger("sync-customer-data", {"customer_id": "c1"})`.

    Options and errors as for `Workflow.apply_async` and `Celeriac.trigger`.
    """
    return registry.durable().trigger(name, payload, **options)
