"""Webhook endpoints, deliveries and refused requests as JSON documents."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import cast

from ...state.database import Row
from ...state.deliveries import DeliveryRow
from ...state.ids import public
from ...state.quarantine import QuarantineRow
from ...workflows import Celeriac
from ...workflows.declaration import declaration_of
from ...workflows.outbound.cipher import fingerprint
from ...workflows.webhooks.webhook import Endpoint
from .. import shapes
from .documents import identity, moment


def endpoint(durable: Celeriac, name: str, row: Row | None, counts: Sequence[Row] = ()) -> shapes.webhooks.Endpoint:
    """An endpoint with what is known of it. `is_served`: this process has it, in its code or from Postgres."""
    served = durable.inbox.find(name)
    said = declaration_of(served).config if served else json.loads(row["config"]) if row else {}
    config = cast(shapes.webhooks.EndpointConfig, said)
    own = [each for each in counts if each["endpoint"] == name]
    row = row or {}
    return {
        "name": name,
        "path": f"/hooks/{name}",
        "preset": served.preset.name if served else row.get("preset"),
        "workflow": next((route["workflow"] for route in config.get("routes", ()) if route["workflow"]), None),
        **config,
        "is_served": served is not None,
        "is_stored": bool(row.get("is_stored")),
        "revision": row.get("revision"),
        "is_paused": row.get("paused_at") is not None,
        "paused_at": moment(row.get("paused_at")),
        "paused_by": row.get("paused_by"),
        "pause_note": row.get("pause_note"),
        "deliveries": {each["status"]: each["deliveries"] for each in own},
        "last_delivery_at": moment(max((each["last_at"] for each in own), default=None)),
        "refused": row.get("refused", 0),
        "last_refused_at": moment(row.get("last_refused_at")),
        "last_refusal": row.get("last_refusal"),
    }


def secrets(served: Endpoint | None, rows: Sequence[Row]) -> list[shapes.webhooks.Secret]:
    """Fingerprints only: a secret is told to nobody. Those of the code come first."""
    used = {row["fingerprint"]: row for row in rows}
    marks = [fingerprint(served.name, text) for text in served.secrets] if served else []
    own: list[shapes.webhooks.Secret] = [
        {
            "id": None,
            "fingerprint": mark,
            "origin": "code",
            "created_at": None,
            "created_by": None,
            "expires_at": None,
            "is_live": True,
            "last_used_at": moment(used[mark]["last_used_at"]) if mark in used else None,
        }
        for mark in marks
    ]
    return own + [secret(row) for row in rows if row["ciphertext"]]


def secret(row: Row) -> shapes.webhooks.Secret:
    return {
        "id": public("sec", row["id"]),
        "fingerprint": row["fingerprint"],
        "origin": "stored",
        "created_at": moment(row["created_at"]),
        "created_by": row["created_by"],
        "expires_at": moment(row["expires_at"]),
        "is_live": not row.get("is_expired", False),
        "last_used_at": moment(row["last_used_at"]),
    }


def delivery(row: DeliveryRow) -> shapes.webhooks.Delivery:
    """Without its body, which may be anything."""
    return {
        "id": public("dlv", row.id),
        "endpoint": row.endpoint,
        "status": row.status,
        "reason": row.reason,
        "reason_code": row.reason_code,
        "event_type": row.event_type,
        "dedupe_key": row.dedupe_key,
        "order_key": row.order_key,
        "duplicates": row.duplicates,
        "attempts": row.attempts,
        "content_type": row.content_type,
        "size_bytes": row.size_bytes,
        "verified_by": row.verified_by,
        "run_id": identity("run", row.run_id),
        "replay_of": identity("dlv", row.replay_of),
        "actor": row.actor,
        "received_at": moment(row.received_at),
        "routed_at": moment(row.routed_at),
        "next_at": moment(row.next_at) if row.status == "pending" else None,
    }


def whole_delivery(row: DeliveryRow, dispatches: Sequence[Row]) -> shapes.webhooks.WholeDelivery:
    """With headers, body (as text, or in base64 where it is none), and what each route did."""
    return {
        **delivery(row),
        "headers": json.loads(row.headers),
        "query": row.query,
        **_body(row.body),
        "dispatches": [
            {
                "route": each["route"],
                "item": each["item"],
                "status": each["status"],
                "reason": each["reason"],
                "reason_code": each["reason_code"],
                "run_id": identity("run", each["run_id"]),
                "event": each["event"],
                "at": moment(each["at"]),
            }
            for each in dispatches
        ],
    }


def dead(row: Row) -> shapes.webhooks.DeadLetters:
    """A group of dead letters."""
    return {
        "endpoint": row["endpoint"],
        "reason_code": row["reason_code"],
        "reason": row["reason"],
        "deliveries": row["deliveries"],
        "first_at": moment(row["first_at"]),
        "last_at": moment(row["last_at"]),
        "newest_id": public("dlv", row["newest_id"]),
    }


def refused(row: QuarantineRow) -> shapes.webhooks.RefusedRequest:
    """A request in quarantine."""
    return {
        "id": public("qrn", row.id),
        "endpoint": row.endpoint,
        "reason": row.reason,
        "method": row.method,
        "url": row.url,
        "size_bytes": row.size_bytes,
        "is_whole": row.is_whole,
        "received_at": moment(row.received_at),
    }


def whole_refused(row: QuarantineRow) -> shapes.webhooks.WholeRefusedRequest:
    """A request in quarantine with its headers and its body."""
    return {**refused(row), "headers": json.loads(row.headers), **_body(row.body)}


def known_endpoints(
    durable: Celeriac, rows: Sequence[Row], counts: Sequence[Row] = ()
) -> list[shapes.webhooks.Endpoint]:
    """The endpoints that this process serves, and those that others declared, by name."""
    by_name = {row["name"]: row for row in rows}
    names = sorted({*by_name, *durable.inbox.all()})
    return [endpoint(durable, name, by_name.get(name), counts) for name in names]


def as_text(body: bytes) -> str | None:
    """The body as text. None: it is none."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _body(body: bytes) -> shapes.webhooks.KeptBody:
    text = as_text(body)
    if text is None:
        return {"body": b64encode(body).decode(), "body_encoding": "base64"}
    return {"body": text, "body_encoding": "text"}
