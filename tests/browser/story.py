"""Runs whose pages have something to tell: one that failed in its second attempt, one that waits for a person, one of
twelve hundred steps, and one that a browser may move.

Rows are written as a worker would have left them; `begin` is when the run was started.
"""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from celeriac.state.ids import new_id, public

DAY = 86_400.0
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/orders.py", line 88, in fulfil_order
    receipt = charge_card(order, amount)
  File "/usr/lib/python3.12/site-packages/bank/client.py", line 412, in post
    raise PaymentDeclined(answer["reason"])
bank.errors.PaymentDeclined: the bank declined card 4242 of order 1093
"""
DECLINED = {"type": "PaymentDeclined", "message": "the bank declined card 4242 of order 1093", "traceback": TRACEBACK}
ORDER = {
    "order_id": 1093,
    "customer": {"id": "c7", "name": "Ada Lovelace", "password": "hunter2-hunter2"},
    "lines": [{"sku": "SKU-7781", "quantity": 2, "cents": 1299}, {"sku": "SKU-0042", "quantity": 1, "cents": 49900}],
    "ledger_id": 9_007_199_254_740_993,
}
MANY = 1200


class Story:
    """One run that is being written."""

    def __init__(self, workflow: str, payload: Any, begin: datetime, **columns: Any):
        self.id, self.begin, self.workflow = new_id(), begin, workflow
        self.columns = {
            "id": self.id, "workflow": workflow, "version": "2026.11.3", "cause": "", "attempt": 1, "max_attempts": 3,
            "max_crashes": 5, "queue": workflow, "payload": json.dumps(payload), "tags": ["vip"], "metadata": "{}",
            "root_id": self.id, "source": "api", "created_at": begin, "queued_at": begin, "epoch": 0,
        } | columns  # fmt: skip
        self.moves: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []

    def at(self, seconds: float) -> datetime:
        return self.begin + timedelta(seconds=seconds)

    def move(self, seconds: float, status: str, cause: str, **more: Any) -> "Story":
        before = self.moves[-1]["to_status"] if self.moves else None
        epoch = self.columns["epoch"] = self.columns["epoch"] + (status == "running")
        attempt, self.columns["attempt"] = self.columns["attempt"], more.pop("attempt", self.columns["attempt"])
        self.moves.append({
            "run_id": self.id, "at": self.at(seconds), "from_status": before, "to_status": status, "epoch": epoch,
            "attempt": attempt, "cause": cause,
        } | more)  # fmt: skip
        self.columns |= {"status": status, "cause": cause}
        if status == "running":
            self.columns |= {"claimed_at": self.at(seconds), "started_attempt": attempt}
            self.columns.setdefault("started_at", self.at(seconds))
        return self

    def step(self, key: str, start: float, end: float | None, output: Any = None, **more: Any) -> "Story":
        known = {
            "run_id": self.id, "key": key, "seq": len(self.steps) + 1, "name": key.partition("#")[0], "kind": "step",
            "status": "completed" if end is not None else "waiting", "epoch": self.columns["epoch"], "attempts": 1,
            "output": json.dumps(output) if end is not None else None, "started_at": self.at(start),
            "finished_at": None if end is None else self.at(end),
        } | more  # fmt: skip
        self.steps.append(known)
        return self

    def say(self, seconds: float, message: str, step: str | None = None, level: int = 20) -> "Story":
        self.lines.append({
            "at": self.at(seconds), "run_id": self.id, "workflow": self.workflow, "step": step, "attempt": 1,
            "step_attempt": 1, "epoch": 1, "level": level, "logger": "shop.orders", "message": message, "run_bytes": 9,
        })  # fmt: skip
        return self

    def write(self, db: Any) -> str:
        """Its rows, in a transaction without triggers. Returns its id as URLs have it."""
        _insert(db, "runs", [self.columns])
        _insert(db, "run_history", self.moves)
        _insert(db, "steps", self.steps)
        _insert(db, "logs", self.lines)
        return public("run", self.id)


def declined(now: datetime, original: UUID) -> Story:
    """Failed in its second attempt: its first step was taken from the checkpoint, its third was tried three times."""
    error = json.dumps(DECLINED | {"step": "charge_card"})
    came = {"source": "replay", "source_id": public("run", original)}
    story = Story("fulfil-order", ORDER, now - timedelta(minutes=11), **came)
    story.move(0, "queued", "triggered").move(1.6, "running", "a worker took it")
    story.step("reserve", 1.7, 3.1, {"reservation": "r-5512", "items": 2}, is_compensable=True)
    story.step("quote", 3.1, 3.6, {"cents": 52498, "currency": "EUR"}, kind="transaction")
    story.move(5.2, "delayed", "step charge_card failed, it is tried again later", error=error)
    story.move(9.4, "queued", "its time has come").move(9.9, "running", "a worker took it")
    story.move(11.5, "delayed", "attempt 1 of 3 failed, it is tried again later", error=error, attempt=2)
    story.move(17.0, "queued", "its time has come").move(17.3, "running", "a worker took it")
    story.step("charge_card", 3.7, 19.4, status="failed", attempts=3, error=error, output=None)
    story.steps[-1]["output"] = None
    story.step("release", 19.4, 19.8, True, is_optional=True)
    story.move(20.0, "failed", "the function raised an error that is not tried again", error=error)
    story.columns |= {"error": error, "finished_at": story.at(20.0)}
    story.say(1.8, "reserves 2 of SKU-7781", "reserve").say(4.9, "the bank is slow: 1.2 s", "charge_card", 30)
    return story.say(19.3, "the bank declined card 4242", "charge_card", 40)


def completed(now: datetime) -> Story:
    """The run before it, which went well."""
    story = Story("fulfil-order", ORDER | {"order_id": 1092}, now - timedelta(minutes=12))
    story.move(0, "queued", "triggered").move(0.4, "running", "a worker took it")
    story.step("reserve", 0.5, 1.9, {"reservation": "r-5511", "items": 2}, is_compensable=True)
    story.step("quote", 1.9, 2.3, {"cents": 52498, "currency": "EUR"}, kind="transaction")
    story.step("charge_card", 2.4, 3.9, {"receipt": "rc-88102"})
    story.move(4.1, "completed", "the function returned")
    story.columns |= {"output": json.dumps({"receipt": "rc-88102", "boxes": 2}), "finished_at": story.at(4.1)}
    return story


def approval(now: datetime) -> tuple[Story, Story]:
    """It slept for two days, its child has ended, and it waits for a person; and that child."""
    begin = now - timedelta(days=2, seconds=95)
    child = Story("sync-customer-data", {"customer_id": "c7"}, begin + timedelta(days=2, seconds=8), source="parent")
    child.move(0, "queued", "triggered").move(0.9, "running", "a worker took it")
    child.step("fetch_customer", 1.0, 3.2, {"id": "c7"}).step("upsert_customer", 3.3, 4.1, True)
    child.move(4.3, "completed", "the function returned")
    story = Story("fulfil-order", ORDER, begin)
    child.columns |= {
        "parent_id": story.id, "parent_step": "sync-customer-data", "root_id": story.id, "output": "{}",
        "finished_at": child.at(4.3),
    }  # fmt: skip
    story.move(0, "queued", "triggered").move(2.0, "running", "a worker took it")
    story.step("reserve", 2.1, 4.0, {"reservation": "r-5520", "items": 2}, is_compensable=True)
    story.step("sleep", 4.1, 4.1 + 2 * DAY, kind="sleep", wake_at=begin + timedelta(days=2)).move(
        4.1, "waiting", "it sleeps 172800 s"
    )
    woken = 4.1 + 2 * DAY
    story.move(woken, "queued", "its time has come").move(woken + 0.7, "running", "a worker took it")
    story.step("quote", woken + 0.8, woken + 3.5, {"cents": 52498})
    story.step("sync-customer-data", woken + 3.6, woken + 8.4, {}, kind="child", child_id=child.id)
    story.move(woken + 3.7, "waiting", "it waits for its child sync-customer-data")
    story.move(woken + 8.4, "queued", "what it waited for has come").move(woken + 8.6, "running", "a worker took it")
    story.step("approval", woken + 9.0, None, kind="token", token_id=new_id(), is_awaited=True)
    story.move(woken + 9.1, "waiting", "it waits for approval")
    story.columns |= {"awaits_left": 1}
    return story, child


def many(now: datetime) -> Story:
    """Twelve hundred steps, of which some failed."""
    story = Story("nightly-report", {}, now - timedelta(hours=5))
    story.move(0, "queued", "triggered").move(1, "running", "a worker took it")
    for n in range(1, MANY + 1):
        more = {"status": "failed", "error": json.dumps(DECLINED)} if n % 100 == 0 else {}
        story.step("collect" if n == 1 else f"collect#{n}", n * 0.5, n * 0.5 + 0.4, {"rows": n}, **more)
        if more:
            story.steps[-1]["output"] = None
    story.move(MANY * 0.5 + 1, "completed", "the function returned")
    story.columns |= {"output": "1200", "finished_at": story.at(MANY * 0.5 + 1)}
    return story


def tell(db: Any, now: datetime) -> dict[str, str]:
    """Writes them all: what each is called, and its id."""
    before, (waiting, child) = completed(now), approval(now)
    stories = {"before": before, "declined": declined(now, before.id), "approval": waiting, "child": child,
               "many": many(now)}  # fmt: skip
    return {name: story.write(db) for name, story in stories.items()}


def _insert(db: Any, table: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        values = {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}
        db.all(
            f"insert into celeriac.{table} ({', '.join(row)}) values ({', '.join(f'%({name})s' for name in row)})",
            **values,
        )
