"""Groups the runs that failed by what went wrong."""

from collections.abc import MutableMapping
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from ..state import error_groups
from ..state.database import Row
from ..state.error_groups import Place, Sighting
from ..state.ids import new_id
from ..state.outlook import Outlook
from ..workflows import Celeriac
from ..workflows.signals.fingerprint import fingerprint, fingerprint_of_others
from .service import Counts

GROUPS_LIMIT = 50  # of one workflow, type and place, that are told apart by their messages; further ones are one group
OTHERS = "(one of many messages) "  # before the message of that group


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
                known = error_groups.of_places(transaction, {each.place for each in sightings})
                sightings = _bounded(sightings, known)
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
        _add(known, run["id"], run["finished_at"], mark.message, 1, [run["version"]])
    return list(groups.values())


def _bounded(sightings: list[Sighting], known: MutableMapping[Place, set[str]]) -> list[Sighting]:
    """Without more groups than a place may have: messages that are others each time would begin one for each run."""
    kept: dict[str, Sighting] = {}
    for each in sightings:
        there = known.setdefault(each.place, set())
        if each.fingerprint in there or len(there) < GROUPS_LIMIT:
            there.add(each.fingerprint)
            kept[each.fingerprint] = each
            continue
        each.fingerprint, each.message = fingerprint_of_others(*each.place), OTHERS + each.message
        others = kept.setdefault(each.fingerprint, each)
        if others is not each:
            others.first_seen_at = min(others.first_seen_at, each.first_seen_at)
            _add(others, each.last_run_id, each.last_seen_at, each.message, each.count, each.versions)
    return list(kept.values())


def _add(to: Sighting, run_id: UUID, at: datetime, message: str, count: int, versions: list[str]) -> None:
    to.count += count
    to.versions += [each for each in versions if each not in to.versions]
    if at >= to.last_seen_at:
        to.last_run_id, to.last_seen_at, to.message = run_id, at, message
