"""All runs of a search as a file, page by page as they are read: CSV for people, NDJSON for programs."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace

from ...state import runs
from ...state.database import Database
from ...state.runs import Filter, RunRow
from .. import wording
from ..rest import documents

PAGE = 500  # runs that are held at a time
COLUMNS = (
    "id", "workflow", "version", "status", "queue", "concurrency_key", "attempt", "max_attempts", "tags", "source",
    "created_at", "started_at", "finished_at", "duration_seconds", "error_type", "error_message",
)  # fmt: skip
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would calculate


def as_csv(db: Database, filter: Filter) -> Iterator[str]:
    yield _line(COLUMNS)
    for run in _every(db, filter):
        yield _line(_cells(run))


def as_ndjson(db: Database, filter: Filter) -> Iterator[str]:
    """The documents of the API, one on each line."""
    for run in _every(db, filter):
        yield json.dumps(documents.run(run), ensure_ascii=False) + "\n"


def _every(db: Database, filter: Filter) -> Iterator[RunRow]:
    while page := runs.find(db, filter, PAGE):
        yield from page
        filter = replace(filter, after=(page[-1].created_at, page[-1].id))


def _cells(run: RunRow) -> list[str]:
    document = documents.run(run)
    error = document["error"] or {}
    seconds = wording.between(run.started_at, run.finished_at)
    told = document | {
        "tags": ",".join(run.tags),
        "duration_seconds": "" if seconds is None else f"{seconds:.3f}",
        "error_type": error.get("type"),
        "error_message": error.get("message"),
    }
    return [_safe("" if told[name] is None else str(told[name])) for name in COLUMNS]


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULAS) else text


def _line(cells: "list[str] | tuple[str, ...]") -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
