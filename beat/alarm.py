"""When a service is to do its next pass."""

import threading
import time

AGAIN_SECONDS = 0.5  # after a pass that found nothing, before it is tried again though something seems to be late


class Alarm:
    """Set by whoever learns of something that is due; the earliest time wins."""

    def __init__(self, interval_seconds: float):
        self._interval_seconds = interval_seconds
        self._changed = threading.Condition()
        self._at = self._not_before = time.monotonic()

    def set(self, seconds: float) -> None:
        """In so many seconds at the latest. What is late already waits until the service has rested."""
        with self._changed:
            now = time.monotonic()
            at = now + seconds if seconds > 0 else max(now, self._not_before)
            if at < self._at:
                self._at = at
                self._changed.notify()

    def ring(self) -> None:
        """Now, whatever the last pass has found."""
        with self._changed:
            self._at = 0.0
            self._changed.notify()

    def wait(self) -> None:
        """Until it is time; from now on the next time is that of the interval, unless it is set."""
        with self._changed:
            while (seconds := self._at - time.monotonic()) > 0:
                self._changed.wait(seconds)
            self._at = time.monotonic() + self._interval_seconds

    def rest(self, seconds: float) -> None:
        """What is late already waits for so many seconds, but when it is rung."""
        with self._changed:
            self._not_before = time.monotonic() + seconds
