"""Celeriac inside a Celery worker: the task that claims and executes runs, and the process that keeps watch.

Imported by `Celeriac(app)` in every process; only in a worker does it do something.
"""

from .bootsteps import install
from .lifeline import Lifeline
from .process import WorkerProcess
from .task import worker_task

__all__ = ["Lifeline", "WorkerProcess", "install", "worker_task"]
