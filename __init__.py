"""Celeriac: durable workflows for teams that already run Celery. The public names, and nothing else.

They are looked up when they are first asked for, so that `celeriac.api.client`, which needs neither Celery nor
SQLAlchemy, does not load them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeriac.workflows import (
        Abort,
        Celeriac,
        Cron,
        CurrentRun,
        DurableTask,
        EndedRun,
        Event,
        Every,
        Metadata,
        Queue,
        Retry,
        RetryAfter,
        Run,
        Step,
        Token,
        Workflow,
        complete_token,
        create_token,
        current_run,
        gather,
        parallel,
        patched,
        receive,
        run_task,
        send_event,
        sleep,
        sleep_until,
        step,
        trigger,
        wait_for_event,
        wait_for_webhook,
        workflow,
    )

__all__ = [
    "Abort",
    "Celeriac",
    "Cron",
    "CurrentRun",
    "DurableTask",
    "EndedRun",
    "Event",
    "Every",
    "Metadata",
    "Queue",
    "Retry",
    "RetryAfter",
    "Run",
    "Step",
    "Token",
    "Workflow",
    "complete_token",
    "create_token",
    "current_run",
    "gather",
    "parallel",
    "patched",
    "receive",
    "run_task",
    "send_event",
    "sleep",
    "sleep_until",
    "step",
    "trigger",
    "wait_for_event",
    "wait_for_webhook",
    "workflow",
]

if not TYPE_CHECKING:  # a type checker would take every name that is asked for as one that there is

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from celeriac import workflows

        return getattr(workflows, name)
