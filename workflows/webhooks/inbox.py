"""What becomes of a stored delivery: each route starts a run, or sends an event, once; or it is set aside with the
reason. Nothing is dropped."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from uuid import UUID

from ...state import deliveries
from ...state.deliveries import IGNORED, PARKED, PENDING, ROUTED, DeliveryRow, Dispatch
from ...state.errors import Refused, StateUnavailable
from ...state.ids import parse, public
from ...state.runs import NewRun, RunRow
from ..errors import CeleriacError, IdempotencyConflict, NotSerializable, PayloadInvalid, UnknownWorkflow, UsageError
from ..options import Options
from ..run import Run
from ..signals.spans import route_span
from ..signals.tracing import Lineage
from ..trigger import Source, start
from ..waits import deliver_event
from . import filter, mapping
from .clauses import FilterFailed
from .event import Event
from .webhook import Endpoint, Route

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

REASON_LIMIT = 2000  # characters
PUT_OFF_LIMIT_SECONDS = 60.0  # between two tries while a queue is full

CODES: tuple[tuple[type[CeleriacError], str], ...] = (  # of dead letters, by what was raised; the first that fits
    (PayloadInvalid, "payload_invalid"),
    (NotSerializable, "payload_invalid"),
    (UnknownWorkflow, "unknown_workflow"),
    (IdempotencyConflict, "idempotency_conflict"),
    (CeleriacError, "not_startable"),
)


def route(durable: "Celeriac", endpoint: Endpoint, delivery: DeliveryRow) -> list[Run]:
    """Routes a pending delivery, and returns the runs that it started; none also where someone else routed it.

    Safe to repeat and to race: a delivery starts a run of a route once. Raises StateUnavailable.
    """
    if delivery.order_key is None:
        return _route(durable, endpoint, delivery)
    with durable.database.transaction() as transaction:
        deliveries.lock_order(transaction, endpoint.name, delivery.order_key)
        earlier = deliveries.before(durable.database, delivery, endpoint.order_timeout_seconds)
        if earlier is None:
            return _route(durable, endpoint, delivery)
        told = f"{public('dlv', earlier.id)} of its key {delivery.order_key!r} comes first"
        deliveries.wait_its_turn(durable.database, delivery.id, told)
        return []


def event_of(endpoint: str, delivery: DeliveryRow) -> Event:
    """A delivery as filters and mappings see it."""
    return Event(
        endpoint,
        delivery.event_type,
        json.loads(delivery.headers),
        delivery.body,
        query_of(delivery.query),
        public("dlv", delivery.id),
    )


def query_of(text: str) -> dict[str, str]:
    """The parameters of a query string; of several with one name the first."""
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))


def order_key(endpoint: Endpoint, event: Event) -> str | None:
    """The key within which deliveries are routed one after the other, where the endpoint has one."""
    if endpoint.order_by is None:
        return None
    try:
        return mapping.key_by(endpoint.order_by, event.document)
    except (ValueError, RecursionError):
        return None


def _route(durable: "Celeriac", endpoint: Endpoint, delivery: DeliveryRow) -> list[Run]:
    event = event_of(endpoint.name, delivery)
    done = _done(durable, delivery)
    made: list[Dispatch] = []
    started: list[RunRow] = []
    refusal: Refused | None = None
    for dispatch in _dispatches(endpoint, event):
        if (dispatch.item, dispatch.route.name) in done:
            continue
        try:
            outcome, row = dispatch.carry_out(durable)
        except Refused as error:
            refusal = error
            continue
        made.append(outcome)
        started += [row] if row is not None else []
    _settle(durable, delivery, made, refusal, bool(done))
    return durable.offer(started)


def _settle(
    durable: "Celeriac", delivery: DeliveryRow, made: list[Dispatch], refusal: Refused | None, was_routed: bool
) -> None:
    """Writes down what came of it: what is worst of its routes is the status of the whole."""
    statuses = {each.status for each in made}
    worst = next(
        (status for status in (PARKED, ROUTED, IGNORED) if status in statuses), ROUTED if was_routed else IGNORED
    )
    telling = next((each for each in made if each.status == worst and each.reason), None)
    reason = telling.reason if telling else None if made or was_routed else "the endpoint has no routes"
    if refusal is not None:  # a full queue, or one that drains: the delivery is kept, and routed when there is room
        worst, reason, telling = PENDING, str(refusal), None
    deliveries.settle(
        durable.database,
        delivery.id,
        worst,
        made,
        reason=reason,
        reason_code=telling.reason_code if telling else None,
        delay_seconds=min(PUT_OFF_LIMIT_SECONDS, 2.0 ** min(delivery.attempts, 10)) if refusal else 0.0,
    )
    if worst in (PARKED, PENDING):
        log.warning("delivery dlv_%s of endpoint %s is %s: %s", delivery.id.hex, delivery.endpoint, worst, reason)


def _done(durable: "Celeriac", delivery: DeliveryRow) -> set[tuple[int, str]]:
    """Items and routes that have done their part. One that came just now has none."""
    if not (delivery.attempts or delivery.duplicates or delivery.actor or delivery.reason):
        return set()
    found = deliveries.dispatches(durable.database, delivery.id)
    return {(row["item"], row["route"]) for row in found if row["status"] == ROUTED}


def _dispatches(endpoint: Endpoint, event: Event) -> Iterator["Delivering"]:
    """What is to be done: each route, with each item of a body that is split."""
    routes = list(endpoint.routes)
    if endpoint.sends_events:
        routes.append(Route(name=endpoint.event_name, event=endpoint.event_name))
    if endpoint.split is None:
        is_alone = sum(route.workflow is not None for route in routes) == 1
        for route in routes:
            yield Delivering(
                endpoint, route, event, 0, event.delivery if is_alone else f"{event.delivery}/{route.name}"
            )
        return
    try:
        items = mapping.items_by(endpoint.split, event.document)
    except (mapping.MappingFailed, ValueError, RecursionError) as error:
        for route in routes:
            yield Delivering(endpoint, route, event, 0, "", fault=f"it cannot be split: {error}")
        return
    for index, item in enumerate(items):
        single = replace(event, item=item)
        key = mapping.key_by(endpoint.split_key, item) if endpoint.split_key else None
        for route in routes:
            yield Delivering(endpoint, route, single, index, f"{event.delivery}/{route.name}#{index}", item_key=key)


class Delivering:
    """One route of one delivery, or of one item of it."""

    def __init__(
        self,
        endpoint: Endpoint,
        route: Route,
        event: Event,
        item: int,
        source_id: str,
        *,
        item_key: str | None = None,
        fault: str | None = None,
    ):
        self.endpoint, self.route, self.event, self.item = endpoint, route, event, item
        self._source_id, self._item_key, self._fault = source_id, item_key, fault

    def carry_out(self, durable: "Celeriac") -> tuple[Dispatch, RunRow | None]:
        """What it came to, and the run that it started. Raises Refused where a queue takes no run now."""
        try:
            payload = self._payload()
        except Unwanted as unwanted:
            return self._outcome(IGNORED, str(unwanted)), None
        except Unroutable as unroutable:
            return self._outcome(PARKED, str(unroutable), unroutable.code), None
        try:
            with self._lineage().inside(route_span(self._delivery_id(), self.item, self.route.name)):
                if self.route.workflow is None:
                    return self._send(durable, payload), None
                return self._start(durable, payload)
        except (Refused, StateUnavailable):
            raise
        except CeleriacError as error:
            code = next(code for kind, code in CODES if isinstance(error, kind))
            return self._outcome(PARKED, str(error), code), None

    def _lineage(self) -> Lineage:
        given = self.event.headers.get("traceparent")
        return Lineage(given, self._delivery_id(), f"receive {self.endpoint.name}")

    def _delivery_id(self) -> UUID:
        return parse("dlv", self.event.delivery)

    def _payload(self) -> Mapping[str, Any]:
        """Raises Unwanted, Unroutable."""
        if self._fault is not None:
            raise Unroutable("unparseable", self._fault)
        if self.route.where is not None:
            self._check(self.route.where)
        if self.route.mapping is not None:
            return self._mapped(self.route.mapping)
        try:
            if self.route.transform is not None:
                return mapping.payload_by(self.route.transform, self.event.document)
            body = self.event.json()
        except mapping.MappingFailed as failed:
            raise Unroutable("mapping_error", str(failed)) from failed
        except (ValueError, RecursionError) as error:
            raise Unroutable("unparseable", f"{type(error).__name__}: {error}") from error
        if self.route.event == self.endpoint.event_name:
            return {"delivery": self.event.delivery, "type": self.event.type, "body": body}
        if not isinstance(body, dict):
            raise Unroutable("payload_invalid", f"the body is a JSON {type(body).__name__}, a payload is an object")
        return body

    def _check(self, where: str) -> None:
        try:
            holds, reason = filter.parse(where).answer(self.event.document)
        except FilterFailed as failed:
            raise Unroutable("filter_error", str(failed)) from failed
        except (ValueError, RecursionError) as error:
            raise Unroutable("unparseable", f"{type(error).__name__}: {error}") from error
        if not holds:
            raise Unwanted(reason)

    def _mapped(self, function: Any) -> Mapping[str, Any]:
        try:
            payload = function(self.event)
        except Exception as error:  # the shop's own mapping met something it did not expect: a person has to look
            raise Unroutable("mapping_error", f"{type(error).__name__}: {error}") from error
        if payload is None:
            raise Unwanted("its mapping returned None")
        if not isinstance(payload, Mapping):
            raise Unroutable("mapping_error", f"its mapping returned a {type(payload).__name__}, no object")
        return payload

    def _start(self, durable: "Celeriac", payload: Mapping[str, Any]) -> tuple[Dispatch, RunRow | None]:
        assert self.route.workflow is not None
        key = f"{self.endpoint.name}/{self.route.name}/{self._item_key}" if self._item_key else None
        options = Options(idempotency_key=key) if key else Options()
        new = durable.prepare(self.route.workflow, payload, options, Source("webhook", self._source_id))
        row = _started(durable, new)
        if row.source_id != self._source_id and self._item_key:
            told = f"its id {self._item_key} was delivered before, and started {public('run', row.id)}"
            return self._outcome(IGNORED, told), None
        return self._outcome(ROUTED, run=row), row

    def _send(self, durable: "Celeriac", payload: Mapping[str, Any]) -> Dispatch:
        assert self.route.event is not None
        own = f"{self.endpoint.name}/{self._item_key}" if self._item_key else f"{self.event.delivery}#{self.item}"
        deliver_event(durable, self.route.event, payload, own)
        return self._outcome(ROUTED, event=self.route.event)

    def _outcome(
        self,
        status: str,
        reason: str | None = None,
        code: str | None = None,
        *,
        run: RunRow | None = None,
        event: str | None = None,
    ) -> Dispatch:
        told = reason.replace("\0", "")[:REASON_LIMIT] if reason else None
        if told is not None and status == PARKED and len(self.endpoint.routes) > 1:
            told = f"{self.route.name}: {told}"
        return Dispatch(
            route=self.route.name,
            item=self.item,
            status=status,
            reason=told,
            reason_code=code,
            run_id=run.id if run else None,
            event=event,
        )


class Unwanted(Exception):
    """A route does not want this delivery: the message says why."""


class Unroutable(Exception):
    """A route cannot be followed."""

    def __init__(self, code: str, reason: str):
        super().__init__(reason)
        self.code = code


def _started(durable: "Celeriac", new: NewRun) -> RunRow:
    """The run, also where another process has just started it for the same delivery."""
    try:
        return start(durable.database, [new])[0]
    except UsageError:
        row = deliveries.run_of_source(durable.database, str(new.source_id))
        if row is None:
            raise
        return row
