"""The dispatch window: how many runs of a queue may be out at once, in Celery's lists or executing.

Everything beyond stays in the ready queue, where priority, turns, pause, cancel and ttl still apply. The slots of its
workers times a factor is the window of a queue; queues that fill theirs share it, so that the lists of their workers
stay short however many queues have a backlog, and a run of another queue is not behind all of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from ...state.queues import QueueRow
from .buckets import Holding


def windows(
    rows: Sequence[QueueRow], holdings: Mapping[str, Holding | None], queued: Mapping[str, int], factor: float
) -> dict[str, int]:
    """Queue name -> window. `holdings` is what Redis knows of them, `queued` their runs that wait in Postgres."""
    crowd: Counter[tuple[UUID, ...]] = Counter()
    busy = {row.name for row in rows if _fills_its_window(holdings.get(row.name), queued.get(row.name, 0))}
    for row in rows:
        crowd[row.worker_ids] += row.name in busy
    return {row.name: window(row, factor, crowd[row.worker_ids] if row.name in busy else 1) for row in rows}


def window(row: QueueRow, factor: float, sharers: int = 1) -> int:
    """The window of a queue that shares its workers with so many that fill theirs, itself among them."""
    whole = round(row.slots * factor)
    return max(1, whole // sharers) if whole else 0


def _fills_its_window(holding: Holding | None, queued: int) -> bool:
    # One that is held back by something else (a pause, a rate, a full key) needs no share of what it does not use.
    return holding is not None and holding.waiting > 0 and queued > 0 and len(holding.slots) >= holding.window > 0
