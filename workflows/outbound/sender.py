"""Sends webhooks: a workflow of our own, so that a message to others is a run like any other, which is tried again for
days, survives its worker, and can be seen, paused, cancelled and retried. Triggers start its runs in the transaction
that ends another run (0011_outbound.sql)."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ...state import alerts, ids, outbound
from ...state.runs import OUTBOUND
from ..engine.execution import Execution, execution_for
from ..engine.outcome import HandedOff
from ..errors import Abort, AddressRefused, NotDelivered, RetryAfter
from ..queue import Queue
from ..retry import Retry
from ..settings import Settings
from ..signals.redaction import Redaction
from ..step import step
from ..workflow import workflow
from .address_guard import Guard
from .channels import send_mail, slack_body
from .cipher import InvalidToken, cipher
from .post import Answer, post
from .signing import callback_secrets, signed
from .wording import worded

log = logging.getLogger(__name__)

RUN_EVENTS = tuple(f"run.{word}" for word in ("completed", "failed", "cancelled", "timed_out", "crashed", "expired"))
EVENTS = (*RUN_EVENTS, "delivery.dead")
DOCUMENTS = ("payload", "output", "metadata")  # of a run, which a subscription may include
TEST = "subscription.test"  # the type of a sample
ALERT_EVENTS = ("run.failed", "run.crashed", "run.timed_out", "error.new", "error.regressed")
SAMPLE = "alert.sample"

# At once, then after about 4 s, 15 s, 1 min, 4 min, 16 min, 1 h, 4 h, 15 h, 15 h, 15 h, 15 h: three days.
PATIENCE = Retry(max_attempts=12, factor=4.0, min_delay=5.0, max_delay=72_000.0)
LONGEST_WAIT_SECONDS = 86_400.0  # that a receiver's Retry-After can ask for
BUSY = (429, 503)  # statuses with which it may
GONE = 410  # of a receiver that wants nothing any more
LINE = Queue(OUTBOUND, concurrency=16, per_key=4)  # one slow receiver holds so many slots, and all together so many


@workflow(name=OUTBOUND, queue=LINE)
def deliver(
    id: str, type: str, timestamp: str, data: dict[str, Any], subscription: str | None = None
) -> dict[str, Any]:
    """Tells a subscription, or the callback_url of the run in `data`, or whom the alert in it names, what has
    happened."""
    if "alert" in data:
        return alert(id, type, timestamp, data)
    execution = execution_for(OUTBOUND)
    if subscription is not None and outbound.hold(
        execution.database, subscription, execution.run.id, execution.run.epoch
    ):
        execution.interrupt(HandedOff("its subscription is paused"))
    return send(id, type, timestamp, data, subscription)


@step(retry=PATIENCE)
def send(id: str, type: str, timestamp: str, data: dict[str, Any], subscription: str | None) -> dict[str, Any]:
    """One attempt. Raises NotDelivered, RetryAfter, and Abort where another one would be in vain."""
    execution = execution_for(OUTBOUND)
    message = _message(type, timestamp, data, execution.settings)
    return _posted(execution, _receiver(execution, subscription, data), id, message, subscription)


@step(retry=PATIENCE)
def alert(id: str, type: str, timestamp: str, data: dict[str, Any]) -> dict[str, Any]:
    """One attempt to tell of what goes wrong, without secrets. Raises as `send`."""
    execution, name = execution_for(OUTBOUND), data["alert"]
    row = alerts.get(execution.database, name)
    if row is None:
        raise Abort(f"alert {name!r} was removed")
    data = Redaction.of_process().within(data)
    if row["channel"] == "email":
        sent = send_mail(execution.settings, row["address"], id, worded(type, data, execution.settings))
        log.info("%s is mailed to %s", id, row["address"])
        return sent | {"address": row["address"]}
    address = _unsealed(execution, row["ciphertext"], f"alert {name!r}") if row["ciphertext"] else row["address"]
    if row["channel"] == "slack":
        said = slack_body(worded(type, data, execution.settings))
        return _posted(execution, Receiver(address, []), id, said)
    message = _message(type, timestamp, data, execution.settings)
    return _posted(execution, Receiver(address, callback_secrets(execution.settings)), id, message)


def _posted(
    execution: Execution, receiver: "Receiver", id: str, message: dict[str, Any], subscription: str | None = None
) -> dict[str, Any]:
    body = json.dumps(message, separators=(",", ":"))
    headers = {"Content-Type": "application/json", "User-Agent": f"Celeriac/{version('celeriac')}"}
    proof = signed(receiver.secrets, id, int(time.time()), body.encode()) if receiver.secrets else {}
    try:
        answer = post(receiver.url, {**headers, **proof}, body.encode(), Guard.of(execution.settings))
    except AddressRefused as refusal:
        raise NotDelivered(str(refusal)) from None  # a name may resolve to something else by the next attempt
    told = f"{answer.status} from {answer.address} after {answer.duration_seconds:.2f} s"
    if 200 <= answer.status < 300:
        log.info("%s is delivered: %s", id, told)
        return {
            "status": answer.status,
            "address": answer.address,
            "duration_ms": round(answer.duration_seconds * 1000, 1),
            "answer": answer.text,
        }
    raise _refused(execution, subscription, answer, f"{told}: {answer.text or 'no text'}")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a message goes, and what it is signed with; nothing, where the address itself is the secret."""

    url: str
    secrets: list[str]


def _receiver(execution: Execution, subscription: str | None, data: Mapping[str, Any]) -> Receiver:
    """As it is now. Raises Abort where there is none any more."""
    if subscription is None:
        url = outbound.callback_url(execution.database, ids.parse("run", data["run"]["id"]))
        if url is None:
            raise Abort(f"{data['run']['id']} is not kept any more, and its callback_url with it")
        return Receiver(url, callback_secrets(execution.settings))
    row = outbound.get(execution.database, subscription)
    if row is None:
        raise Abort(f"subscription {subscription!r} was removed")
    if row["disabled_at"] is not None:
        raise Abort(
            f"subscription {subscription!r} is disabled: {row['disabled_reason']}. Resume it, and retry this run"
        )
    return Receiver(row["url"], _secrets(execution, subscription))


def _secrets(execution: Execution, subscription: str) -> list[str]:
    rows = [row for row in outbound.secrets(execution.database, subscription) if not row["is_expired"]]
    return [_unsealed(execution, row["ciphertext"], f"subscription {subscription!r}") for row in rows]


def _unsealed(execution: Execution, ciphertext: str, whose: str) -> str:
    try:
        return cipher(execution.settings).decrypt(ciphertext).decode()
    except InvalidToken:
        raise Abort(
            f"a secret of {whose} cannot be read: celeriac_secret_key of this worker is not the one that it was "
            "encrypted with. Set it, and retry this run"
        ) from None


def _message(type: str, timestamp: str, data: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What is sent; a run with the address where the API has all of it, where the setting public_url says that."""
    run = data.get("run")
    if run is not None and settings.public_url:
        data = {**data, "run": {**run, "url": f"{settings.public_url.rstrip('/')}/api/v1/runs/{run['id']}"}}
    return {"type": type, "timestamp": timestamp, "data": data}


def _refused(execution: Execution, subscription: str | None, answer: Answer, told: str) -> Exception:
    if answer.status == GONE:
        if subscription is not None:
            outbound.disable(execution.database, subscription, "its receiver answered 410 Gone")
        return Abort(f"{told} (410: nothing more is sent there)")
    if answer.status in BUSY and answer.retry_after_seconds is not None:
        return RetryAfter(min(max(answer.retry_after_seconds, PATIENCE.min_delay), LONGEST_WAIT_SECONDS), told)
    return NotDelivered(told)
