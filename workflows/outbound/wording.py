"""What an alert says, in words: for Slack, for a mail, and for whoever reads it at night."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..settings import Settings

LINE_LIMIT = 500  # characters of the first line of an error
DOCUMENT_LIMIT = 1000  # characters of a document that was asked for
TITLES = {
    "run.failed": "{workflow} failed",
    "run.crashed": "{workflow} crashed: its worker died again and again",
    "run.timed_out": "{workflow} took longer than it may",
    "error.new": "New error in {workflow}",
    "error.regressed": "An error of {workflow} came back",
    "alert.digest": "{workflow}: {held} more",
    "alert.sample": "A sample of the alert {alert}",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A message: what happened in one line, what is known of it, and where to look."""

    title: str
    facts: Sequence[tuple[str, str]]
    link: str
    link_words: str


def worded(type: str, data: Mapping[str, Any], settings: Settings) -> Said:
    """The message of an alert in words."""
    run, error = data.get("run") or {}, data.get("error") or {}
    held = f"{data.get('held') or 0:,}"
    workflow = str(run.get("workflow") or error.get("workflow") or "a workflow")
    title = TITLES[type].format(workflow=workflow, held=held, alert=data["alert"])
    where = f"[{settings.environment}] " if settings.environment else ""
    link, words = _link(run, error, settings)
    return Said(f"{where}{title}", list(_facts(type, data, run, error)), link, words)


def _facts(
    type: str, data: Mapping[str, Any], run: Mapping[str, Any], error: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    fault = error or run.get("error") or {}
    if fault:
        first = str(fault.get("message") or "").partition("\n")[0][:LINE_LIMIT]
        yield "Error", f"{fault.get('type')}: {first}"
    if error:
        yield "Seen", f"{error['count']:,} times since {error['first_seen_at']}"
    if (error or {}).get("frame"):
        yield "Where", str(error["frame"])
    if run:
        yield "Run", str(run["id"])
    if data.get("version"):
        yield "Version", str(data["version"])
    if data.get("held") and type != "alert.digest":
        yield "Held back before", f"{data['held']:,} since {data['since']}"
    if data.get("held") and type == "alert.digest":
        yield "Held back", f"{data['held']:,} since {data['since']}; this is the last of them"
    for name in ("payload", "output", "metadata"):
        if run.get(name) is not None:
            yield name.capitalize(), json.dumps(run[name], ensure_ascii=False)[:DOCUMENT_LIMIT]
    if data.get("events"):
        yield "It tells of", ", ".join(data["events"])


def _link(run: Mapping[str, Any], error: Mapping[str, Any], settings: Settings) -> tuple[str, str]:
    base = settings.public_url.rstrip("/")
    if not base:
        return "", ""
    if run:
        return f"{base}/runs/{run['id']}", "The run"
    return (f"{base}/errors", "The errors") if error else (f"{base}/", "Overview")
