"""What `celeriac doctor` looks for in the Celery app itself, and what it asks its live workers."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from celery import Task

from ..state import schedules, workers, workflows
from ..workflows import Celeriac
from ..workflows.dispatch.connection import is_redis

ANSWER_SECONDS = 1.0  # in which a live worker answers
UNSAFE = ("pickle", "application/x-python-serialize", "yaml", "application/x-yaml")
VISIBILITY_TIMEOUT_SECONDS = 3600  # kombu's default
SOFTWARE = re.compile(r"\b(celery|kombu|py):(\S+)")

Verdict = tuple[str, str]


class CeleryChecks:
    """Each check is a method: its verdict, what was seen, and what to do."""

    def __init__(self, durable: Celeriac):
        self.durable, self._app, self._conf = durable, durable.app, durable.app.conf

    def serializers(self) -> Verdict:
        accepted = {*self._conf.accept_content, *(self._conf.result_accept_content or ())}
        used = {self._conf.task_serializer, self._conf.result_serializer, self._conf.event_serializer}
        found = sorted((accepted | used) & set(UNSAFE))
        if found:
            return "warning", (
                f"{', '.join(found)} is accepted: whoever can write to the broker runs code in your workers. "
                "Leave json alone in accept_content and the serializers"
            )
        return "ok", f"accepted: {', '.join(sorted(accepted))}"

    def results(self) -> Verdict:
        keeping = [] if self._conf.task_ignore_result else [t.name for t in self._plain_tasks() if not t.ignore_result]
        if keeping and not self._conf.result_backend:
            return "warning", (
                f"no result backend, and {_some(keeping)} keep their results: .get(), chords and chains that read one "
                "fail. Set result_backend, or ignore_result=True. Runs need none"
            )
        return "ok", str((self._conf.result_backend and "there is a result backend") or "none is needed")

    def visibility(self) -> Verdict:
        """Of plain tasks: the message of a run is acknowledged before it is executed."""
        if not is_redis(str(self._conf.broker_url or "")):
            return "ok", "the broker is no Redis"
        timeout = (self._conf.broker_transport_options or {}).get("visibility_timeout", VISIBILITY_TIMEOUT_SECONDS)
        late = [task for task in self._plain_tasks() if task.acks_late or self._conf.task_acks_late]
        limits = {task.name: task.time_limit or self._conf.task_time_limit or 0 for task in late}
        longer = [f"{name} ({limit:g} s)" for name, limit in limits.items() if limit > timeout]
        if longer:
            return "warning", (
                f"{_some(longer)} may take longer than visibility_timeout, {timeout:g} s: then Redis gives the message "
                "to another worker, and it is executed twice at once. Raise it in broker_transport_options"
            )
        return "ok", f"{timeout:g} s, and no task that acknowledges late may take longer"

    def pool(self) -> Verdict:
        if self._conf.worker_pool == "eventlet":
            return "failed", "worker_pool is eventlet, which Celeriac refuses: choose gevent, threads or prefork"
        return "ok", f"worker_pool is {self._conf.worker_pool}"

    def prefetch(self) -> Verdict:
        greedy = [
            node
            for node, stats in self._stats.items()
            if node in self._ours and stats.get("prefetch_count", 0) > _processes(stats)
        ]
        if greedy:
            return "warning", (
                f"{_some(greedy)} take more messages than they execute: a run that waits there behind a long one keeps "
                "its slot while others are idle. Start them by `celeriac worker`, or with --prefetch-multiplier 1"
            )
        return "ok", "workers take what they can execute"

    def strangers(self) -> Verdict:
        without = sorted(set(self._stats) - self._ours)
        if without:
            return "warning", (
                f"{_some(without)} answer Celery, and are not known here: they run code without Celeriac(app), or with "
                "another database. They drop the messages of runs, which are published again after 10 s"
            )
        return "ok", f"{len(self._stats)} answered, all with Celeriac"

    def names(self) -> Verdict:
        served = {*self._app.tasks, *(name for row in self._rows for name in row["workflows"])}
        beat = {str(entry["task"]) for entry in (self._conf.beat_schedule or {}).values()}
        scheduled = {row.workflow for row in schedules.find(self.durable.database, schedules.Filter(), 1000)}
        registered = {row["name"] for row in workflows.every(self.durable.database)}
        unknown = sorted(name for name in beat | scheduled if name and name not in served | registered)
        if unknown:
            return "failed", (
                f"{_some(unknown)} stand in a schedule, and no code has a task of that name: mend the name, or import "
                "the module in the app (include=[...])"
            )
        return "ok", "what is scheduled has code"

    def mix(self) -> Verdict:
        reports = self._app.control.inspect(timeout=ANSWER_SECONDS).report() or {} if self._stats else {}
        found: dict[str, set[str]] = {}
        for report in reports.values():
            for name, version in SOFTWARE.findall(str(report.get("ok", ""))):
                found.setdefault(name, set()).add(version)
        mixed = {name: versions for name, versions in found.items() if len(versions) > 1}
        if mixed:
            told = "; ".join(f"{name} {', '.join(sorted(versions))}" for name, versions in sorted(mixed.items()))
            return "warning", f"workers differ: {told}. Harmless in the middle of a deploy"
        return "ok", "all workers run the same versions" if reports else "no worker answered"

    def _plain_tasks(self) -> "Iterable[Task[Any, Any]]":
        own = {workflow.name for workflow in self.durable.workflows()}
        return [task for name, task in self._app.tasks.items() if not name.startswith("celery.") and name not in own]

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return workers.alive(self.durable.database)

    @property
    def _ours(self) -> set[str]:
        return {row["name"] for row in self._rows}

    @cached_property
    def _stats(self) -> Mapping[str, Any]:
        """What each live worker of the app tells of itself; it is asked once."""
        return self._app.control.inspect(timeout=ANSWER_SECONDS).stats() or {}


def _processes(stats: Mapping[str, Any]) -> int:
    return int((stats.get("pool") or {}).get("max-concurrency") or 1)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
