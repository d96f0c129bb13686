"""A consumer that outlives Redis."""

import logging
from typing import Any

from celery.worker.consumer import Consumer

log = logging.getLogger(__name__)


class SafeConsumer(Consumer):
    """Celery 5.7.0 with kombu 5.7.0 exits when Redis is away while a message is unacknowledged: closing the dead
    connection gives messages back through it, and that raises. The connection is dropped instead; reconnecting is the
    loop's next step anyway. To be removed with the support of 5.7.0, once a release has mended it.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> Any:
        try:
            return super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            log.warning("the broker's connection could not be closed in order (%s): dropped, reconnecting", error)
            self.connection = None
            return None

    def bucket_for_task(self, type: Any) -> Any:
        """What holds messages of a task back in this worker for its `rate_limit`. Not those of durable tasks: their
        queue has the rate, over all workers, and a message that is held here would hold a slot."""
        return None if getattr(type, "is_durable", False) else super().bucket_for_task(type)
