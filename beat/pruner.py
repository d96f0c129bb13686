"""Deletes what was kept long enough: finished runs and all that belongs to them, deliveries, events, the audit."""

import json
from datetime import datetime
from typing import ClassVar

from ..state import retention, schedules, trends
from ..state.outlook import Outlook
from ..workflows import Celeriac
from .archive import archive_of
from .service import Counts


class Pruner:
    """One batch of each kind a pass. Runs and deliveries are archived first, in the transaction that deletes them:
    where the archive raises, they stay."""

    name: ClassVar[str] = "pruner"
    interval_seconds: ClassVar[float] = 300.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._has_more = False

    def run_once(self, now: datetime | None = None) -> Counts:
        database, settings = self._durable.database, self._durable.settings
        days, audit_days = settings.retention_days, settings.audit_retention_days
        counts = {"runs": self._prune_runs(days, now), "deliveries": self._prune_deliveries(now)}
        schedules.forget_waiting(database)
        trends.prune(database, now)
        counts |= {kind: retention.delete_rows(database, kind, days, now) for kind in retention.ROWS}
        counts["audit"] = retention.delete_audit(database, audit_days, now)
        counts["keys"] = retention.delete_keys(database, audit_days, now)
        counts["logouts"] = retention.delete_logouts(database, now)
        counts["requests"] = retention.delete_requests(database, settings.replay_seconds, now)
        batches = {"audit": retention.AUDIT_BATCH}
        self._has_more = any(count >= batches.get(kind, retention.BATCH) for kind, count in counts.items())
        return counts

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return 0.0 if self._has_more else None

    def _prune_runs(self, days: float, now: datetime | None) -> int:
        with self._durable.database.transaction() as transaction:
            ids = retention.ended_runs(transaction, days, now)
            if ids:
                archive = archive_of(self._durable)
                if archive is not None:
                    archive("runs", [json.loads(text) for text in retention.whole_runs(transaction, ids)])
                retention.delete_runs(transaction, ids)
        return len(ids)

    def _prune_deliveries(self, now: datetime | None) -> int:
        days = self._durable.settings.delivery_retention_days
        with self._durable.database.transaction() as transaction:
            found = retention.old_deliveries(transaction, days, now)
            if found:
                archive = archive_of(self._durable)
                if archive is not None:
                    archive("deliveries", [json.loads(text) for _, text in found])
                retention.delete_deliveries(transaction, [id for id, _ in found])
        return len(found)
