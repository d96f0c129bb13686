"""A shop as it is on a day on which something goes wrong: what the page shows while a browser looks at it.

Rows are written as they would be after a day of work, and by the same dice each time. Moments are
reckoned from now, by the database's clock.
"""

import hashlib
import hmac
import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import story
from flask import Flask
from flask.testing import FlaskClient

from celeriac import Celeriac, Cron, Every, Queue, Retry, workflow
from celeriac.beat.grouper import Grouper
from celeriac.state import measures, services, waits
from celeriac.state.ids import new_id, public

SECRET = "It's a Secret to Everybody"
POLYGLOT = (
    """"'></script><script>alert(1)</script><img src=x onerror=alert(1)>"""
    "{{191*7919}}javascript:alert(1)//--></title><svg/onload=alert(1)>"
)
HOURS = 24
DAY_RUNS = 420
SHOP = {  # workflow: (weight, share that fails, steps with their seconds, what is raised)
    "sync-customer-data": (9, 0.02, (("fetch_customer", 0.4), ("normalize", 0.05), ("upsert_customer", 0.2)),
                           ("ConnectionError", "the CRM did not answer within 10 s")),
    "fulfil-order": (6, 0.05, (("reserve", 0.3), ("charge_card", 1.4), ("send_receipt", 0.2)),
                     ("CardDeclined", "the bank declined card 4242 of order 1093")),
    "send-newsletter": (3, 0.0, (("render", 0.9), ("deliver", 6.0)), ("ValueError", "")),
    "nightly-report": (1, 0.12, (("collect", 22.0), ("aggregate", 9.0), ("publish", 1.2)),
                       ("KeyError", "'revenue_net'")),
}  # fmt: skip
LOG_COLUMNS = "at, run_id, workflow, step, attempt, step_attempt, epoch, level, logger, message, run_bytes"
LIVE = {"queued": 14, "running": 5, "waiting": 6, "delayed": 3}
RUN_COLUMNS = [
    "id",
    "workflow",
    "version",
    "status",
    "epoch",
    "cause",
    "actor",
    "attempt",
    "max_attempts",
    "started_attempt",
    "crashes",
    "max_crashes",
    "queue",
    "concurrency_key",
    "payload",
    "output",
    "error",
    "tags",
    "metadata",
    "root_id",
    "source",
    "source_id",
    "run_at",
    "created_at",
    "queued_at",
    "claimed_at",
    "started_at",
    "finished_at",
    "worker_id",
    "worker_pid",
]


@workflow(name="sync-customer-data", retry=Retry(max_attempts=5), queue=Queue("crm", concurrency=10, per_key=2))
def sync_customer_data(customer_id: str, full: bool = False) -> dict[str, Any]:
    """Brings one customer from the CRM into the shop's own table."""
    return {"customer_id": customer_id, "full": full}


@workflow(name="fulfil-order", retry=Retry(max_attempts=3), max_duration=600)
def fulfil_order(order_id: int, express: bool = False, note: str | None = None) -> str:
    """Reserves, charges, and tells the customer."""
    return f"receipt-{order_id}"


@workflow(name="send-newsletter", schedule=Every(seconds=3600))
def send_newsletter(audience: str = "everybody", limit: int = 100) -> int:
    return 0


@workflow(name="nightly-report", schedule=Cron("0 3 * * *", timezone="Europe/Berlin"), retry=Retry(max_attempts=2))
def nightly_report() -> None:
    """Yesterday's figures."""


@workflow(name="browser.polyglot")
def polyglot(**members: Any) -> Any:
    return members


@dataclass(frozen=True)
class Scene:
    """Ids of what the pages are about, as their URLs have them."""

    failed: str
    running: str
    waiting: str
    polyglot: str
    delivery: str
    schedule: str
    declined: str  # those of story.py
    before: str
    approval: str
    child: str
    many: str


def set_up(durable: Celeriac, app: Flask, strange: bool = True) -> Scene:
    """Fills an empty, migrated database. Endpoints must have been declared by `hooked` before `app` was made."""
    dice, database, now = random.Random(7), durable.database, durable.database.now()
    durable.register()
    workers = [_worker(durable, name, slots, now) for name, slots in (("celery@atlas", 8), ("celery@borea", 4))]
    made = [_past_run(dice, now) for _ in range(DAY_RUNS)]
    made += [_live_run(dice, now, status, workers) for status, count in LIVE.items() for _ in range(count)]
    failed = _run(dice, now - timedelta(minutes=7), "fulfil-order", "failed", tags=["vip", "eu"])
    running = _run(dice, now - timedelta(seconds=40), "nightly-report", "running", worker=workers[0])
    waiting = _run(dice, now - timedelta(hours=3), "sync-customer-data", "waiting", tags=["vip"])
    waiting["run_at"] = now + timedelta(days=2)
    made += [failed, running, waiting]
    with database.transaction() as transaction:
        transaction.all("set local session_replication_role = replica")  # the history is written here, in the past
        _insert(transaction, made)
        told = story.tell(transaction, now)
    _say(durable, failed, now)
    _operate(durable)
    _alert(durable)
    services.report(database, new_id(), "beat@atlas", [
        {"name": name, "interval_seconds": 5, "passes": 71, "totals": {"runs": 71}, "counts": {"runs": 1},
         "did_at": str(now), "passed_at": str(now), "trouble": None} for name in ("scheduler", "waker", "reaper")
    ])  # fmt: skip
    waits.send_event(database, "customer.updated", "evt-1", json.dumps({"customer_id": "c7"}))
    client = app.test_client()
    odd = _polyglot(durable, client) if strange else public("run", failed["id"])
    _count(durable, now)
    return Scene(
        failed=public("run", failed["id"]),
        running=public("run", running["id"]),
        waiting=public("run", waiting["id"]),
        polyglot=odd,
        delivery=_deliver(client),
        schedule=next(row["key"] for row in client.get("/api/v1/schedules").get_json()["schedules"]),
        **told,
    )


def hooked(durable: Celeriac) -> Celeriac:
    """With the endpoints of the shop."""
    durable.webhook("github", verify="github", secret=SECRET)(polyglot)
    durable.webhook("crm-updates", verify="hmac", secret="crm secret")(sync_customer_data)
    return durable


def _past_run(dice: random.Random, now: datetime) -> dict[str, Any]:
    """Somewhen in the last day, more at noon than at night; an hour ago the CRM was away."""
    names = [name for name, (weight, *_) in SHOP.items() for _ in range(weight)]
    name = dice.choice(names)
    ago = HOURS * 3600 * min(dice.random(), dice.random() * 1.1 + 0.004)
    is_outage = name == "sync-customer-data" and 1800 < ago < 5400
    fails = dice.random() < (0.7 if is_outage else SHOP[name][1])
    status = "failed" if fails else "completed"
    if dice.random() < 0.02:
        status = dice.choice(["cancelled", "timed_out", "expired", "crashed"])
    tags = [tag for tag, share in (("vip", 0.12), ("eu", 0.3), ("backfill", 0.05)) if dice.random() < share]
    return _run(dice, now - timedelta(seconds=max(ago, 90)), name, status, tags=tags)


def _live_run(dice: random.Random, now: datetime, status: str, workers: list[UUID]) -> dict[str, Any]:
    at = now - timedelta(seconds=dice.uniform(2, 240))
    made = _run(dice, at, dice.choice(list(SHOP)[:3]), status, worker=dice.choice(workers))
    if status == "delayed":
        made["run_at"] = now + timedelta(seconds=dice.uniform(60, 900))
    return made


def _run(
    dice: random.Random,
    created: datetime,
    name: str,
    status: str,
    tags: list[str] | None = None,
    worker: UUID | None = None,
) -> dict[str, Any]:
    """One run with its steps and its moves, beside its columns."""
    id, fault = new_id(), SHOP[name][3]
    claimed = created + timedelta(seconds=dice.uniform(0.02, 1.5))
    steps, at = [], claimed
    upto = len(SHOP[name][2]) - (status != "completed")
    for seq, (key, seconds) in enumerate(SHOP[name][2][:upto], start=1):
        begins, at = at, at + timedelta(seconds=seconds * dice.lognormvariate(0, 0.5))
        steps.append({"run_id": id, "key": key, "seq": seq, "name": key, "kind": "step", "status": "completed",
                      "output": json.dumps({"ok": True, "step": seq}), "epoch": 1, "started_at": begins,
                      "finished_at": at})  # fmt: skip
    is_final = status in ("completed", "failed", "cancelled", "expired", "timed_out", "crashed")
    has_started = status not in ("queued", "delayed", "expired")
    error = None
    if status in ("failed", "timed_out", "crashed"):
        trace = f'Traceback (most recent call last):\n  File "/shop/{name}.py", line 41, in run\n    raise {fault[0]}'
        error = json.dumps({"type": fault[0], "message": fault[1], "traceback": trace, "step": None})
    moves = [(None, "queued", "triggered", created)]
    if has_started:
        moves.append(("queued", "running", "a worker took it", claimed))
    if status not in ("queued", "running"):
        moves.append((moves[-1][1], status, {"waiting": "sleeps"}.get(status, "the function returned"), at))
    return {
        "id": id, "workflow": name, "version": dice.choice(["2026.11.2", "2026.11.3"]), "status": status,
        "epoch": int(has_started), "cause": moves[-1][2], "actor": None, "attempt": 1 + (error is not None),
        "max_attempts": 3, "started_attempt": 1 if has_started else None, "crashes": 0, "max_crashes": 5,
        "queue": {"sync-customer-data": "crm"}.get(name, name), "concurrency_key": "",
        "payload": json.dumps({"customer_id": f"c{dice.randrange(99)}"}),
        "output": json.dumps({"ok": True}) if status == "completed" else None, "error": error, "tags": tags or [],
        "metadata": "{}", "root_id": id, "source": dice.choice(["api", "webhook", "schedule", "python"]),
        "source_id": None, "run_at": None, "created_at": created, "queued_at": created,
        "claimed_at": claimed if has_started else None, "started_at": claimed if has_started else None,
        "finished_at": at + timedelta(seconds=0.01) if is_final else None,
        "worker_id": worker if status == "running" else None, "worker_pid": 7 if status == "running" else None,
        "steps": steps, "moves": moves,
    }  # fmt: skip


def _insert(db: Any, made: list[dict[str, Any]]) -> None:
    columns = ", ".join(RUN_COLUMNS)
    values = ", ".join(f"%({column})s" for column in RUN_COLUMNS)
    for run in made:
        db.all(f"insert into celeriac.runs ({columns}) values ({values})", **{name: run[name] for name in RUN_COLUMNS})
        for step in run["steps"]:
            names = ", ".join(step)
            db.all(f"insert into celeriac.steps ({names}) values ({', '.join(f'%({name})s' for name in step)})", **step)
        for source, target, cause, at in run["moves"]:
            db.all(
                "insert into celeriac.run_history (run_id, at, from_status, to_status, epoch, attempt, cause) values "
                "(%(id)s, %(at)s, %(source)s, %(target)s, %(epoch)s, 1, %(cause)s)",
                id=run["id"], at=at, source=source, target=target, epoch=run["epoch"], cause=cause,
            )  # fmt: skip


def _worker(durable: Celeriac, name: str, slots: int, now: datetime) -> UUID:
    id = new_id()
    durable.database.all(
        "insert into celeriac.workers (id, name, pid, pool, slots, workflows, started_at, heartbeat_at) "
        "values (%(id)s, %(name)s, 4711, 'prefork', %(slots)s, %(workflows)s, %(at)s, now() + interval '1 hour')",
        id=id, name=name, slots=slots, workflows=[*SHOP], at=now - timedelta(hours=5),
    )  # fmt: skip
    return id


def _say(durable: Celeriac, run: dict[str, Any], now: datetime) -> None:
    lines = [(20, "reserves 2 of SKU-7781", None), (30, "the bank is slow: 1.2 s", "charge_card"),
             (40, "the bank declined card 4242", "charge_card")]  # fmt: skip
    for level, message, step in lines:
        durable.database.all(
            f"insert into celeriac.logs ({LOG_COLUMNS}) "
            "values (%(at)s, %(id)s, %(workflow)s, %(step)s, 1, 1, 1, %(level)s, 'shop.orders', %(message)s, 100)",
            at=now - timedelta(minutes=6), id=run["id"], workflow=run["workflow"], step=step, level=level,
            message=message,
        )  # fmt: skip


def _operate(durable: Celeriac) -> None:
    durable.queue("send-newsletter").pause("ada", "the mail provider throttles us")
    durable.queue("crm").limit("ada", "black friday", concurrency=20)


def _alert(durable: Celeriac) -> None:
    """Before anything fails by the real verbs: the day that is written here alerted nobody."""
    durable.alert("ops").create("slack", "https://hooks.slack.com/services/T0/B0/x", workflows=[*SHOP], cool_down=600)
    durable.alert("night").create("webhook", "https://pager.example/hooks/celeriac", ["run.crashed"], tags=["vip"])
    durable.alert("night").pause("ada", "the pager moves")


def _polyglot(durable: Celeriac, client: FlaskClient) -> str:
    """A run whose every text wants to be executed."""
    body = {"payload": {POLYGLOT: POLYGLOT}, "options": {"tags": [POLYGLOT[:150]], "metadata": {"m": POLYGLOT}}}
    answer = client.post("/api/v1/workflows/browser.polyglot/trigger", json=body)
    assert answer.status_code == 202, answer.text
    id: str = answer.get_json()["id"]
    error = json.dumps({"type": POLYGLOT, "message": POLYGLOT, "traceback": POLYGLOT, "step": POLYGLOT})
    durable.database.all(
        "update celeriac.runs set status = 'failed', finished_at = now(), cause = %(text)s, error = %(error)s "
        "where id = %(id)s",
        id=UUID(id.removeprefix("run_")), text=POLYGLOT, error=error,
    )  # fmt: skip
    durable.database.all(
        f"insert into celeriac.logs ({LOG_COLUMNS}) "
        "values (now(), %(id)s, 'browser.polyglot', %(text)s, 1, 1, 1, 40, %(text)s, %(text)s, 100)",
        id=UUID(id.removeprefix("run_")), text=POLYGLOT,
    )  # fmt: skip
    return id


def _deliver(client: FlaskClient) -> str:
    body = json.dumps({"action": "opened", "text": POLYGLOT}).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "d-1", "User-Agent": POLYGLOT.replace("\n", "")}
    sent = client.post(
        "/hooks/github",
        data=body,
        headers={"X-Hub-Signature-256": signature} | headers,
        content_type="application/json",
    )
    assert sent.status_code in (200, 202), sent.text
    client.post("/hooks/github", data=b"{}", headers={"X-Hub-Signature-256": "sha256=00"} | headers)
    delivery: str = client.get("/api/v1/deliveries").get_json()["deliveries"][0]["id"]
    return delivery


def _count(durable: Celeriac, now: datetime) -> None:
    """What beat counts and groups, of the whole day."""
    durable.database.all("update celeriac.meters set measured_until = now() - interval '8 days'")
    measures.measure_runs(durable.database, now + timedelta(minutes=1))
    Grouper(durable).run_once(now + timedelta(minutes=1))
