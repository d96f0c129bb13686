"""When a service is to do its next pass."""

import threading
import time

AGAIN_SECONDS = 0.5  # after a pass that found nothing, before it is tried again though something seems to be due


class Alarm:
    """Set by whoever learns of something that is due; the earliest time wins."""

    def __init__(self, interval_seconds: float):
        self._interval_seconds = interval_seconds
        self._changed = threading.Condition()
        self._at = self._not_before = time.monotonic()

    def set(self, seconds: float) -> None:
        """In so many seconds at the latest."""
        with self._changed:
            at = max(time.monotonic() + seconds, self._not_before)
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
        """Not again before so many seconds, but when it is rung."""
        with self._changed:
            self._not_before = time.monotonic() + seconds
