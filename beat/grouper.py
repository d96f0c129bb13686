"""Groups the runs that failed by what went wrong."""

from datetime import datetime
from typing import ClassVar

from ..state import error_groups
from ..state.database import Row
from ..state.error_groups import Sighting
from ..state.ids import new_id
from ..state.outlook import Outlook
from ..workflows import Celeriac
from ..workflows.signals.fingerprint import fingerprint
from .service import Counts


class Grouper:
    """Each failed run is counted once: which ones are new and what they are added to is one transaction."""

    name: ClassVar[str] = "grouper"
    interval_seconds: ClassVar[float] = 30.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._is_behind = False

    def run_once(self, now: datetime | None = None) -> Counts:
        with self._durable.database.transaction() as transaction:
            failed = error_groups.take_failed(transaction, now)
            sightings = _grouped(failed)
            if sightings:
                error_groups.record(transaction, sightings)
        self._is_behind = len(failed) >= error_groups.BATCH
        return {"failed": len(failed), "groups": len(sightings)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return 0.0 if self._is_behind else None


def _grouped(failed: list[Row]) -> list[Sighting]:
    """In the order of the runs' ends: the message of a group is that of its last run."""
    groups: dict[str, Sighting] = {}
    for run in failed:
        mark = fingerprint(run["workflow"], run["error"] or "{}")
        known = groups.get(mark.hash)
        if known is None:
            at = run["finished_at"]
            groups[mark.hash] = Sighting(
                new_id(), mark.hash, run["workflow"], mark.type, mark.message, mark.frame, at, at, run["id"],
                [run["version"]],
            )  # fmt: skip
            continue
        known.count += 1
        known.message, known.last_seen_at, known.last_run_id = mark.message, run["finished_at"], run["id"]
        if run["version"] not in known.versions:
            known.versions.append(run["version"])
    return list(groups.values())
