"""One step of a run, opened: what went in and came out, its error, its log, its tries, and what can be done with it."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...state import history, logs, runs, status, steps, traces
from ...state.history import TryRow
from ...state.logs import LogRow
from ...state.runs import RunRow
from ...state.steps import Outlook, StepRow
from ...workflows.signals.fingerprint import FOREIGN, OURS
from ...workflows.signals.spans import spans_of_run
from ..current import database
from .document import Shown, shown
from .timeline import tries

LINES = 60  # of its log
TRIES = 50  # that failed: the last ones
FRAME = re.compile(r'^  File "([^"\n]+)", line (\d+), in (.+)\n((?:    .*\n?)*)', re.MULTILINE)
FORKED = ("compensation", "patch")  # kinds from which no run goes on


@dataclass(frozen=True, slots=True)
class Frame:
    """A line of a traceback: of the shop's own code, or of what it calls."""

    place: str
    function: str
    code: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class Inspected:
    """All that the page says of one step."""

    step: StepRow
    input: Shown | None  # of a child: its payload
    output: Shown | None
    tries: list[TryRow]  # that failed: the last ones
    next_try_at: datetime | None
    lines: list[LogRow]
    attributes: dict[str, Any]
    outlook: Outlook | None  # of a fork from here


def inspected(run: RunRow, key: str) -> Inspected | None:
    """The step of this key. None: the run has recorded no such step."""
    step = steps.one(database(), run.id, key) if "\0" not in key else None
    if step is None:
        return None
    child = runs.get(database(), step.child_id) if step.child_id else None
    return Inspected(
        step=step,
        input=shown(child.payload) if child else None,
        output=shown(step.output),
        tries=tries(run, [key])[key][-TRIES:],
        next_try_at=step.wake_at if step.status == steps.RETRYING and run.status in status.LIVE else None,
        lines=logs.last(database(), run.id, LINES, since=run.created_at, step=key),
        attributes=_attributes(run, step),
        outlook=None if step.kind in FORKED else steps.outlook(database(), run.id, key, is_fork=True),
    )


def frames(traceback: str) -> list[Frame]:
    """The lines of a traceback that are the shop's own code, the innermost first; all, where none is."""
    found = [
        Frame(f"{_short(file)}:{line}", function, code.strip(), _is_own(file))
        for file, line, function, code in FRAME.findall(traceback)
    ]
    return [frame for frame in reversed(found) if frame.is_own] or found[::-1]


def _is_own(file: str) -> bool:
    return not file.startswith(OURS) and not any(word in file for word in FOREIGN)


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:]).removeprefix("//")


def _attributes(run: RunRow, step: StepRow) -> dict[str, Any]:
    """Those of its span in the trace."""
    traced = traces.runs(database(), [run.id])
    claim = history.claim(database(), run.id, step.epoch)
    spans = spans_of_run(traced[0], [claim] if claim else [], [asdict(step)]) if traced and step.epoch else []
    found = next((span for span in spans if span.attributes.get("celeriac.step.key") == step.key), None)
    if found is None:
        return {}
    return {"trace_id": found.trace_id, "span_id": found.span_id, **found.attributes}
