"""What is due: schedules, timers, lost workers, lost messages. The law of the package is in its README."""

from .beat import Beat, services

__all__ = ["Beat", "services"]
