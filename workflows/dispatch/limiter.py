"""How many requests somebody may send: GCRA in Redis for all processes together; without Redis each counts its own."""

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from ..queue import Rate
from .buckets import Buckets, RedisUnavailable

KNOWN_LIMIT = 10_000  # of whom a process remembers something while Redis is away


class Verdict(NamedTuple):
    """Whether a request may come; how many more may now, in how many seconds one may, and all may again."""

    is_allowed: bool
    remaining: int
    wait_seconds: float
    reset_seconds: float


class Limiter:
    """One rate, held by each who sends: `Limiter(durable.buckets, Rate.parse("100/m", burst=100)).take("ada")`."""

    def __init__(self, buckets: Buckets, rate: Rate, clock: Callable[[], float] = time.monotonic):
        self.rate = rate
        self._buckets, self._clock = buckets, clock
        self._full_at: dict[str, float] = {}  # by the clock of this process
        self._lock = threading.Lock()

    def take(self, who: str) -> Verdict:
        """One more request of somebody. Never raises: Redis away is no reason to let all in, or nobody."""
        try:
            is_allowed, remaining, wait_ms, reset_ms = self._buckets.take(who, self.rate.interval_ms, self.rate.burst)
        except RedisUnavailable:
            return self._take_here(who)
        return Verdict(bool(is_allowed), remaining, wait_ms / 1000, reset_ms / 1000)

    def _take_here(self, who: str) -> Verdict:
        interval, burst, now = self.rate.interval_ms / 1000, self.rate.burst, self._clock()
        with self._lock:
            if len(self._full_at) >= KNOWN_LIMIT:
                self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            full_at = max(self._full_at.get(who, now), now)
            wait = full_at - (burst - 1) * interval - now
            if wait > 0:
                return Verdict(False, 0, wait, full_at - now)
            self._full_at[who] = full_at = full_at + interval
        return Verdict(True, math.floor((now - full_at) / interval + burst), 0.0, full_at - now)
