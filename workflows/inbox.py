"""What becomes of a stored delivery: it starts a run, once, or it is set aside with the reason. It is never dropped."""

import json
import logging
from typing import TYPE_CHECKING

from ..state import deliveries
from ..state.deliveries import DeliveryRow
from ..state.errors import Refused, StateUnavailable
from ..state.ids import public
from .errors import CeleriacError
from .options import Options
from .run import Run
from .trigger import Source, start
from .webhook import Endpoint, Event

if TYPE_CHECKING:
    from .application import Celeriac

log = logging.getLogger(__name__)


def route(durable: "Celeriac", endpoint: Endpoint, delivery: DeliveryRow) -> Run | None:
    """Starts the run of a pending delivery. None: it was ignored, parked, or someone else routed it.

    Safe to repeat and to race: the run and the delivery's new status are one transaction.
    """
    try:
        event = Event(endpoint.name, delivery.event_type, json.loads(delivery.headers), delivery.body)
        payload = endpoint.mapping(event)
    except Exception as error:  # the shop's own mapping met something it did not expect: a person has to look
        _set_aside(durable, delivery, "parked", f"{type(error).__name__}: {error}")
        return None
    if payload is None:
        _set_aside(durable, delivery, "ignored", "its mapping returned None")
        return None
    try:
        source = Source("webhook", public("dlv", delivery.id))
        new = durable.prepare(endpoint.workflow, payload, Options(), source)
        with durable.database.transaction() as transaction:
            if not deliveries.route(transaction, delivery.id, new.id):
                return None
            started = start(transaction, [new])
        return durable.offer(started)[0]
    except StateUnavailable:
        raise
    except Refused as error:  # a full queue, or one that drains: the delivery is kept, and routed when there is room
        log.warning("delivery %s of endpoint %s waits: %s", delivery.id, delivery.endpoint, error)
        return None
    except CeleriacError as error:
        _set_aside(durable, delivery, "parked", str(error))
        return None


def _set_aside(durable: "Celeriac", delivery: DeliveryRow, status: str, reason: str) -> None:
    deliveries.park(durable.database, delivery.id, status, reason.replace("\0", "")[:2000])
    log.warning("delivery %s of endpoint %s is %s: %s", delivery.id, delivery.endpoint, status, reason)
