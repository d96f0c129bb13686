"""What the first page shows: how it is now, what wants attention, and how it went lately."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import url_for

from ...state import overview, trends
from ...state.database import Database, Row
from .. import wording

RANGES = {"1h": (60, 60), "24h": (900, 96), "7d": (3600, 168)}  # name: seconds of a span, spans
OLD_SECONDS = 60.0  # a run that has waited so long for a slot is worth a look


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure, and the list that it counts."""

    title: str
    value: str
    href: str
    tone: str = ""  # a status whose colour it has
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something to look at: what it is, where, since when, and a word more."""

    tone: str
    title: str
    href: str
    since: datetime | None
    note: str = ""


def tiles(figures: Row) -> list[Tile]:
    """The six figures of the moment."""
    runs, oldest = url_for("runs_page.index"), figures["oldest_seconds"]
    is_old = oldest is not None and oldest > OLD_SECONDS
    return [
        Tile(
            "Running", _counted(figures["running"]), f"{runs}?q=status:running", "running", f"{figures['slots']} slots"
        ),
        Tile("Queued", _counted(figures["queued"]), f"{runs}?q=status:queued", "queued"),
        Tile(
            "Oldest queued", wording.DASH if oldest is None else wording.coarse(oldest), f"{runs}?q=status:queued",
            "late" if is_old else "queued", "waits for a slot" if oldest is not None else "nothing waits",
        ),
        Tile(
            "Failed, 1 h", _counted(figures["failed"]), f"{runs}?q=status:failed,timed_out,crashed+created:%3E1h",
            "failed" if figures["failed"] else "completed",
        ),
        Tile(
            "Parked webhooks", _counted(figures["parked"]), f"{url_for('webhook_page.index')}?status=parked",
            "late" if figures["parked"] else "completed", "dead letters",
        ),
        Tile(
            "Workers up", str(figures["workers"]), url_for("worker_page.index"),
            "completed" if figures["workers"] else "failed",
        ),
    ]  # fmt: skip


def concerns(figures: Row, rows: list[Row]) -> list[Concern]:
    """The worst first."""
    found = []
    if not figures["has_beat"]:
        told = "No beat runs: schedules, timers and retries wait"
        found.append(Concern("failed", told, url_for("schedule_page.index"), None, "celery -A shop beat"))
    if not figures["workers"]:
        found.append(Concern("failed", "No worker is up", url_for("worker_page.index"), None, "what is started waits"))
    return found + [_concern(row) for row in rows]


def spans(db: Database, name: str, now: datetime, workflow: str | None = None) -> list[dict[str, Any]]:
    """What ended in each span of a range, also where nothing did: at, ended, failed, p50_seconds, p95_seconds."""
    seconds, count = RANGES[name]
    last = datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
    first = last - timedelta(seconds=seconds * (count - 1))
    known = {row["at"]: row for row in trends.series(db, seconds, first, workflow)}
    empty = {"ended": 0, "failed": 0, "p50_seconds": None, "p95_seconds": None}
    moments = (first + timedelta(seconds=seconds * place) for place in range(count))
    return [{"at": at} | empty | known.get(at, {}) for at in moments]


def _concern(row: Row) -> Concern:
    subject, count, since, note = row["subject"], row["count"], row["since"], row["note"] or ""
    endpoint = url_for("webhook_page.endpoint", name=subject) if row["kind"] in ("parked", "refused") else ""
    match row["kind"]:
        case "silent-worker":
            told = f"Worker {subject} is not heard of"
            return Concern("failed", told, url_for("worker_page.index"), since, "its runs are taken over")
        case "late-schedule":
            href = url_for("schedule_page.show", key=subject)
            return Concern("late", f"Schedule {subject} should have fired", href, since, note)
        case "parked":
            told = f"{subject}: {count:,} parked deliver{'y' if count == 1 else 'ies'}"
            return Concern("late", told, f"{url_for('webhook_page.index')}?status=parked", since, note)
        case "refused":
            return Concern("late", f"{subject} refuses requests", f"{endpoint}#refused", since, note.replace("_", " "))
        case _:
            told = f"Queue {subject} is paused, {count:,} wait"
            return Concern("paused", told, url_for("queue_page.show", name=subject), since, note)


def _counted(count: int) -> str:
    return f"{count:,}" if count < overview.COUNT_LIMIT else f"{overview.COUNT_LIMIT:,}+"
