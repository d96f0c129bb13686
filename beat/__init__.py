"""What is due: schedules, timers, lost workers, lost messages. The law of the package is in its README."""

from .beat import Beat, services
from .celery_scheduler import Scheduler

__all__ = ["Beat", "Scheduler", "services"]
