"""What a run can wait for besides time: its children, events, messages, tokens. Waiting holds nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ..state import payload, runs, steps, waits
from ..state.ids import new_id, parse, public
from ..state.runs import RunRow
from ..state.steps import StepRow
from . import registry
from .declaration import target_of
from .engine import suspension
from .engine.conductor import conducted
from .engine.execution import Execution, current_execution, execution_for
from .engine.failure import error_document, step_error
from .errors import UsageError
from .options import Options
from .retry import SECONDS_LIMIT
from .run import Run
from .step import checked_name
from .trigger import Source, new_run, start
from .webhooks.webhook import event_name

if TYPE_CHECKING:
    from .application import Celeriac


def wait_for_event(name: str, where: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
    """Suspends the run until an event of this name comes, and returns its payload.

    `where` is what the payload has to contain: `wait_for_event("paid", where={"order_id": "o1"})`. An event that was
    sent any time since the run began counts, and each is seen by one wait of a run: so none is missed between two
    lines. Raises TimeoutError after `timeout` seconds (default never), UsageError outside a run and in a step's body.
    """
    match = json.loads(payload.encode(dict(where or {}), "where"))
    execution, told = execution_for("wait_for_event"), f"event {checked_name(name, 'an event')}"
    seconds = _checked(timeout)
    return conducted(lambda: _outcome(suspension.wait(
        execution, told, waits.EVENT, timeout_seconds=seconds, topic=name, match=match
    )))  # fmt: skip


def wait_for_webhook(
    endpoint: str, where: Mapping[str, Any] | None = None, type: str | None = None, timeout: float | None = None
) -> Any:
    """Suspends the run until a delivery comes to a webhook endpoint, and returns its `delivery` id, `type`, `body`.

    `where` is what its JSON body has to contain, `type` which event it is. The endpoint sends its deliveries as events:
    `durable.webhook(endpoint, ..., events=True)`. Otherwise as `wait_for_event`, also in what it raises.

    >>> paid = wait_for_webhook("stripe", where={"data": {"object": {"id": invoice_id}}}, timeout=86_400)
    """
    declared = registry.durable().endpoints.get(endpoint)
    if declared is not None and not declared.sends_events:
        raise UsageError(
            f"wait_for_webhook({endpoint!r}): no delivery of it would wake the run. Declare it with events=True."
        )
    match = {name: value for name, value in (("body", where), ("type", type)) if value is not None}
    return wait_for_event(event_name(endpoint), match, timeout)


def receive(topic: str = "message", timeout: float | None = None) -> Any:
    """Suspends the run until a message to it comes (`run.send(...)`), and returns that; the first in is the first out.

    Messages are kept: one that was sent before is received at once. Raises TimeoutError after `timeout` seconds
    (default never), UsageError outside a run and in a step's body.
    """
    name = f"message {checked_name(topic, 'a topic')}"
    execution, seconds = execution_for("receive"), _checked(timeout)
    return conducted(lambda: _outcome(suspension.wait(
        execution, name, waits.MESSAGE, timeout_seconds=seconds, topic=topic
    )))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """Something that another system, or a person, completes once: by `complete_token(token.id, ...)`, or by
    `POST /api/v1/tokens/<id>/complete`. Who is to do that without an API key posts to `callback_url`, with the result
    as JSON: the address is the secret."""

    id: str
    key: str

    @property
    def callback_url(self) -> str:
        """Where anyone who knows it completes the token. Raises UsageError where `celeriac_public_url` is not set."""
        return f"{registry.durable().settings.need('public_url').rstrip('/')}/callbacks/{self.id}"

    def wait(self) -> Any:
        """Suspends the run until the token is completed, and returns with what. Raises TimeoutError after its timeout,
        and StepError where it was completed with an error."""
        execution = execution_for("token.wait")
        cause = f"it waits for {self.key}"
        return conducted(lambda: _outcome(suspension.ended(execution, [self.key], cause)[self.key]))


def create_token(timeout: float | None = None, name: str = "token") -> Token:
    """A new token of this run, the same one on each replay. `timeout` counts from now, in seconds; default never.

    >>> approval = create_token(timeout=86_400)
    >>> ask_for_approval(approval.id)
    >>> decision = approval.wait()
    """
    execution = execution_for("create_token")
    step = suspension.begin(
        execution, checked_name(name, "a token"), waits.TOKEN, timeout_seconds=_checked(timeout), token_id=uuid4()
    )
    assert step.token_id is not None
    return Token(public("tok", step.token_id), step.key)


def gather(
    *handles: "Run | Token", first: int | None = None, return_exceptions: bool = False, tolerate: int = 0
) -> Any:
    """Suspends the run until these children and tokens have ended, and returns what came of them, in their order.

    - first: wait only for so many, and return those, in the order in which they ended.
    - return_exceptions: errors come back as values, and nothing is raised.
    - tolerate: so many may fail, and come back as values; one more raises its error at once, while others go on.

    Which had ended when the code went on is recorded: a replay sees the same. Raises UsageError outside a run.
    """
    execution = execution_for("gather")
    by_key = {_key(handle, execution): handle for handle in handles}
    if len(by_key) < len(handles):
        raise UsageError(f"gather() in {execution.id}: one handle is given twice")
    if first is not None and not 1 <= first <= len(handles):
        raise UsageError(f"gather(first={first}) of {len(handles)}: 1 to {len(handles)} can be waited for")
    if not handles:
        return conducted(list)
    return conducted(lambda: _gathered(execution, by_key, first, None if return_exceptions else tolerate))


def _gathered(
    execution: Execution, by_key: "Mapping[str, Run | Token]", first: int | None, tolerated: int | None
) -> list[Any]:
    keys = list(by_key)

    def decide() -> list[str]:
        over = suspension.ended(execution, keys, f"it waits for {len(keys)} others", first, tolerated)
        return list(over)[: first or len(keys)]

    seen = execution.remembered("gather", decide)
    results = _results(by_key, suspension.ended(execution, seen, "it waits for what it has seen"), tolerated)
    if first is None and len(results) < len(keys):  # an error ended it early once, and the run was retried
        over = suspension.ended(execution, keys, f"it waits for {len(keys)} others", None, tolerated)
        results = _results(by_key, over, tolerated)
    return [results[key] for key in (seen if first else keys)]


def send_event(name: str, payload_: Mapping[str, Any] | None = None, key: str | None = None) -> bool:
    """Sends an event to every run that waits for it, now or later. False: one with this key was sent before.

    `key` makes it idempotent; inside a run it defaults to the line that sends it, so that a replay sends nothing again.
    Raises NotSerializable, StateUnavailable.
    """
    execution = current_execution()
    if execution is not None and execution.step_inside is None:

        def send() -> bool:
            durable, its_key = registry.durable(), key or execution.next_line()
            is_first = execution.outlast(lambda: deliver_event(durable, name, payload_ or {}, its_key))
            return is_first or key is None  # the line's own key: an execution that died after it has sent this event

        return execution.remembered(f"send {checked_name(name, 'an event')}", send)
    return deliver_event(registry.durable(), name, payload_ or {}, key or new_id().hex)


def deliver_event(durable: "Celeriac", name: str, payload_: Mapping[str, Any], key: str) -> bool:
    """Sends an event of this key, unless it was sent before: wakes who waits for it, and starts the workflows that it
    starts, all in one transaction.

    Raises Refused where the queue of one of these takes no run; then nothing was sent.
    """
    text = payload.encode(payload_, f"the payload of event {name!r}", durable.settings.payload_limit_bytes)
    started: list[RunRow] = []
    with durable.database.transaction() as transaction:
        sent = waits.send_event(transaction, checked_name(name, "an event"), key, text)
        if sent is None:
            return False
        source = Source("event", str(sent.id))
        for workflow in waits.subscribers(transaction, name):
            new = new_run(
                target_of(durable, workflow), text, Options(), source, durable.settings.idempotency_ttl_seconds
            )
            started += start(transaction, [new])
    wake(durable, sent.woken)
    durable.dispatcher.offer(started)
    return True


def deliver_message(durable: "Celeriac", run_id: UUID, topic: str, value: Any) -> None:
    """Sends a message to a run. Raises UsageError: it has ended, or is unknown."""
    text = payload.encode(value, f"a message to {public('run', run_id)}", durable.settings.payload_limit_bytes)
    if not waits.send_message(durable.database, run_id, checked_name(topic, "a topic"), text):
        raise UsageError(f"{public('run', run_id)} has ended, or never was: it receives no messages")
    wake(durable, [run_id])


def complete_token(id: str, result: Any = None, error: str | None = None) -> bool:
    """Completes a token, with a result or with an error message. False: it was completed, or timed out, before.

    Raises UsageError for an id that is no token's.
    """
    return finish_token(registry.durable(), id, result, error)[1]


def finish_token(durable: "Celeriac", id: str, result: Any, error: str | None) -> tuple[StepRow, bool]:
    """The wait of the token, and whether this was the call that ended it."""
    output = None if error is not None else payload.encode(result, f"the result of {id}")
    document = None if error is None else error_document(RuntimeError(error))
    try:
        step, is_first = waits.complete_token(durable.database, parse("tok", id), output, document)
    except (LookupError, ValueError):
        raise UsageError(f"{id!r} is no token: it never was, or its run's retention is over") from None
    if is_first:
        wake(durable, [step.run_id])
    return step, is_first


def wake(durable: "Celeriac", run_ids: Sequence[UUID]) -> None:
    """Offers those of these runs that stand in the queue."""
    found = [runs.get(durable.database, id) for id in run_ids]
    durable.dispatcher.offer([run for run in found if run is not None])


def _outcome(step: StepRow) -> Any:
    if step.status == steps.COMPLETED:
        return payload.decode(step.output or "null")
    raise step_error(step.key, step.error or "{}")


def _results(
    by_key: "Mapping[str, Run | Token]", ended: Mapping[str, StepRow], tolerated: int | None
) -> dict[str, Any]:
    """What came of those that have ended; errors as values, but for the first that is not tolerated."""
    results: dict[str, Any] = {}
    failures = 0
    for key, step in ended.items():
        try:
            results[key] = _outcome_of(by_key[key], step)
        except Exception as error:
            failures += 1
            if tolerated is not None and failures > tolerated:
                raise
            results[key] = error
    return results


def _outcome_of(handle: "Run | Token", step: StepRow) -> Any:
    return handle.outcome_of(step) if isinstance(handle, Run) else _outcome(step)


def _key(handle: Any, execution: Execution) -> str:
    if isinstance(handle, Run):
        return handle.awaited_in(execution)
    if isinstance(handle, Token):
        return handle.key
    raise UsageError(f"gather() takes children and tokens, not {handle!r}: start it with .delay(), without .result()")


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and not 0 <= timeout <= SECONDS_LIMIT:
        raise UsageError(f"timeout={timeout!r}: a time cannot be negative, or longer than a hundred years")
    return timeout
