"""Plain Celery tasks that a schedule sends. The tick is the outbox: a task is sent after its tick is committed.

Once, but where the broker took it and its row could not say so: then it is sent again, with the same task id.
"""

import json
import logging
from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import uuid5

from kombu.exceptions import OperationalError

from ...state import schedules
from ...state.database import Row, Transaction
from ...state.schedules import FAILED, UNSENT, Decision
from .buckets import RedisUnavailable

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

BATCH = 500  # tasks of one pass
SCHEDULE_HEADER, DUE_HEADER = "celeriac-schedule", "celeriac-scheduled-for"


class Outbox:
    """Sends what ticks have left to be sent. Any number of processes may do it at once."""

    def __init__(self, durable: "Celeriac"):
        self._durable = durable

    def send(self) -> int:
        """Sends at most BATCH tasks, oldest first, and returns how many. Raises RedisUnavailable without a broker."""
        sent: list[Row] = []
        with self._durable.database.transaction() as transaction:
            unsent = schedules.unsent(transaction, BATCH)
            try:
                with self._durable.dispatcher.publisher.producer() as producer:
                    for tick in unsent:
                        if self._could_send(transaction, tick, producer):
                            sent.append(tick)
            except RedisUnavailable:
                if not sent:
                    raise
            finally:
                schedules.sent(transaction, sent)  # those that the broker has, whatever came after them
        return len(sent)

    def _could_send(self, transaction: Transaction, tick: Row, producer: Any) -> bool:
        try:
            self._send(tick, producer)
            return True
        except (OperationalError, OSError):
            raise
        except Exception as error:  # one that cannot be sent at all must not hold back those behind it
            log.exception("schedule %s cannot send its task %s", tick["key"], tick["task"])
            failed = Decision(tick["schedule_id"], tick["due_at"], FAILED, "due", note=str(error))
            schedules.decide(transaction, [failed], over=[UNSENT])
            return False

    def _send(self, tick: Row, producer: Any) -> None:
        app, given = self._durable.app, json.loads(tick["payload"])
        options = json.loads(tick["options"])
        due_at = tick["due_at"].astimezone(UTC).isoformat()
        headers = options.pop("headers", None) or {}
        options |= {
            "task_id": str(uuid5(tick["schedule_id"], due_at)),
            "headers": headers | {SCHEDULE_HEADER: tick["key"], DUE_HEADER: due_at},
            "producer": producer,
            "retry": False,
        }
        task = app.tasks.get(tick["task"])
        if task is not None:
            task.apply_async(given["args"], given["kwargs"], **options)
        else:
            app.send_task(tick["task"], given["args"], given["kwargs"], **options)
