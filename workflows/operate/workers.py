"""What Celery workers tell of themselves, with Celeriac in them or without, and what operators have them do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...state import workers
from ..errors import UnknownWorker, UsageError, WorkerRefused, WorkerSilent
from ..worker.commands import ABOUT, DRAIN, RESUME, TIME_LIMIT
from .remote import ANSWER_SECONDS, Conversation

if TYPE_CHECKING:
    from ..application import Celeriac

VERSION = re.compile(r"\bcelery:(\S+)")  # in what `report` says
RUN_ID = re.compile(r"run_[0-9a-f]{32}")
PROCESSES_LIMIT = 1000  # by which a pool may be made larger or smaller at once
WORD_LIMIT = 500  # characters of the name of a queue, or a task
SIGNALS = ("SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGUSR1")
ALSO = ("scheduled", "revoked", "registered", "conf")  # what one worker is asked besides what all are


@dataclass(frozen=True, slots=True)
class Node:
    """One Celery worker, as it answers. `stats` and the others have the shape that Celery gives them.

    Only a worker with Celeriac tells `load`, `is_draining`, and the memory of all its processes; of another one
    `memory_bytes` is the most that its main process had.
    """

    name: str
    is_durable: bool
    version: str | None
    load: Sequence[float] | None
    memory_bytes: int | None
    is_draining: bool
    stats: Mapping[str, Any]
    queues: Sequence[Mapping[str, Any]]
    active: Sequence[Mapping[str, Any]]
    reserved: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any] = field(default_factory=dict)  # ALSO, where one worker was asked

    @property
    def pool(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.stats.get("pool") or {}
        return told

    @property
    def processed(self) -> int:
        """Tasks that it has taken since it started."""
        return sum((self.stats.get("total") or {}).values())


class Workers:
    """`durable.remote_workers.all()`, `.one("celery@atlas")`, `.grow("celery@atlas", 2)`.

    All raise BrokerUnavailable. What is said to one worker raises UnknownWorker, WorkerSilent, and what tells it to do
    something WorkerRefused; it returns what the worker answers. What is changed is forgotten when the worker restarts.
    """

    def __init__(self, durable: "Celeriac"):
        self._durable = durable

    def all(self) -> list[Node]:
        """Those that answer, by their names. It takes ANSWER_SECONDS."""
        with self._durable.remote.conversation() as said:
            return self._nodes(said, sorted(said.ask("ping")))

    def one(self, name: str) -> Node:
        """One, with all that it tells; its configuration without secrets."""
        with self._durable.remote.conversation() as said:
            node: Node = self._known(name, self._nodes(said, [name], ALSO))
            return node

    def shut_down(self, name: str) -> str:
        """It ends what it executes, hands over runs at their next checkpoint, and exits. Nothing starts it again."""
        with self._durable.remote.conversation() as said:
            self._check_answers(said, name)
            said.tell("shutdown", [name])
        return "it shuts down"

    def restart_pool(self, name: str) -> str:
        """New processes, where the setting worker_pool_restarts allows it."""
        return self._order(name, "pool_restart")

    def grow(self, name: str, processes: int = 1) -> str:
        return self._order(name, "pool_grow", n=_counted("processes", processes))

    def shrink(self, name: str, processes: int = 1) -> str:
        return self._order(name, "pool_shrink", n=_counted("processes", processes))

    def autoscale(self, name: str, least: int, most: int) -> str:
        """Where it was started with --autoscale."""
        if _counted("most", most) < _counted("least", least, 0):
            raise UsageError(f"most: {most} is less than {least}")
        return self._order(name, "autoscale", max=most, min=least)

    def add_consumer(self, name: str, queue: str) -> str:
        """It takes from this list of the broker, too."""
        return self._order(name, "add_consumer", queue=_word("queue", queue))

    def cancel_consumer(self, name: str, queue: str) -> str:
        """It takes no more from this list of the broker. What it has prefetched is still executed."""
        return self._order(name, "cancel_consumer", queue=_word("queue", queue))

    def rate_limit(self, name: str, task: str, rate: str) -> str:
        """Starts of a task by this worker: "10/s", "100/m", "1000/h"; "0": as many as come."""
        if not isinstance(rate, str) or not re.fullmatch(r"\d{1,9}(\.\d{1,9})?(/[smh])?", rate):
            raise UsageError(f"rate: {str(rate)[:50]!r} is none: give 10/s, 100/m, 1000/h, or 0 for no limit")
        return self._order(name, "rate_limit", task_name=_word("task", task), rate_limit=rate)

    def time_limit(self, name: str, task: str, soft: float | None, hard: float | None) -> str:
        """Seconds that a plain task may take; None: as long as it does. A worker without Celeriac heeds it when its
        consumer starts again, after the broker was away: Celery looks at these limits then."""
        limits = {"task_name": _word("task", task), "soft": soft, "hard": hard}
        if self._is_durable(name):
            return self._order(name, TIME_LIMIT, **limits)
        return f"{self._order(name, 'time_limit', **limits)}, from when its consumer starts again"

    def revoke(self, name: str, task_id: str, *, terminate: bool = False, signal: str = "SIGTERM") -> str:
        """A plain task is not executed, wherever it waits: all workers are told. `terminate`: if this worker executes
        it, the process that does gets the signal. Raises UsageError for a run: that is cancelled."""
        if RUN_ID.fullmatch(_word("task_id", task_id)):
            raise UsageError(f"task_id: {task_id} is a run: cancel it, also with terminate, so that it ends in order")
        if signal not in SIGNALS:
            raise UsageError(f"signal: {signal[:20]!r} is none of {', '.join(SIGNALS)}")
        if terminate:
            return self._order(name, "revoke", task_id=task_id, terminate=True, signal=signal)
        with self._durable.remote.conversation() as said:
            self._check_answers(said, name)
            said.tell("revoke", task_id=task_id)
        return f"all workers leave {task_id} out"

    def drain(self, name: str) -> str:
        """It takes no more runs and no more tasks, hands over its runs at their next checkpoint, and stays up. Raises
        WorkerRefused for a worker without Celeriac."""
        self._check_durable(name)
        return self._order(name, DRAIN)

    def resume(self, name: str) -> str:
        """It takes runs and tasks again."""
        self._check_durable(name)
        return self._order(name, RESUME)

    def _nodes(self, said: Conversation, names: Sequence[str], also: Sequence[str] = ()) -> list[Node]:
        stats = said.ask("stats", names)
        found = sorted(stats)
        queues, active, reserved, reports = (
            said.ask(each, found) for each in ("active_queues", "active", "reserved", "report")
        )
        durable = {row["name"] for row in workers.alive(self._durable.database)}
        about = said.ask(ABOUT, [name for name in found if name in durable])
        more = {each: said.ask(each, found) for each in also}
        hidden = self._durable.redaction
        return [
            _node(
                name,
                stats[name],
                about.get(name),
                _listed(queues.get(name)),
                hidden.within(_listed(active.get(name))),
                hidden.within(_listed(reserved.get(name))),
                str(reports.get(name)),
                {each: hidden.within(more[each].get(name)) for each in also},
            )
            for name in found
        ]

    def _order(self, name: str, command: str, **arguments: Any) -> str:
        with self._durable.remote.conversation() as said:
            answer = self._known(name, said.ask(command, [name], **arguments).values())
        if isinstance(answer, Mapping) and "error" in answer:
            raise WorkerRefused(f"{name} does not do it: {answer['error']}")
        return str(answer["ok"] if isinstance(answer, Mapping) and "ok" in answer else answer)

    def _check_answers(self, said: Conversation, name: str) -> None:
        self._known(name, said.ask("ping", [name]).values())

    def _check_durable(self, name: str) -> None:
        if not self._is_durable(name):
            with self._durable.remote.conversation() as said:
                self._check_answers(said, name)
            raise WorkerRefused(f"{name} has no Celeriac in it: shut it down, or have it consume from nothing")

    def _is_durable(self, name: str) -> bool:
        return any(row["name"] == name for row in workers.alive(self._durable.database))

    def _known(self, name: str, answers: Any) -> Any:
        """The answer, where one came."""
        for answer in answers:
            return answer
        if self._is_durable(name):
            raise WorkerSilent(
                f"{name} did not answer within {ANSWER_SECONDS:g} s: it is busy, as a solo pool is while it executes, "
                "or its remote control is off. Look again in a moment"
            )
        raise UnknownWorker(f"no worker named {name!r} answered within {ANSWER_SECONDS:g} s")


def _node(
    name: str, stats: Any, about: Any, queues: Any, active: Any, reserved: Any, report: str, more: Mapping[str, Any]
) -> Node:
    about = about if isinstance(about, Mapping) else {}
    version = VERSION.search(report)
    peak = (stats.get("rusage") or {}).get("maxrss") if isinstance(stats.get("rusage"), Mapping) else None
    return Node(
        name=name,
        is_durable=bool(about),
        version=version[1] if version else None,
        load=about.get("load"),
        memory_bytes=about.get("memory_bytes") or (peak * 1024 if peak else None),
        is_draining=bool(about.get("is_draining")),
        stats=stats,
        queues=queues,
        active=active,
        reserved=reserved,
        more=more,
    )


def _listed(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else []


def _counted(member: str, given: int, least: int = 1) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= PROCESSES_LIMIT:
        raise UsageError(f"{member}: a whole number from {least} to {PROCESSES_LIMIT} is expected")
    return given


def _word(member: str, given: str) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= WORD_LIMIT or not given.isprintable():
        raise UsageError(f"{member}: a name of 1 to {WORD_LIMIT} printable characters is expected")
    return given
