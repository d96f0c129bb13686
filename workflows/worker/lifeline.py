"""The thread of a worker's main process that keeps it alive in the eyes of the others, and reports its dead children.

Alive means two things: a heartbeat in its row every few seconds, and a session advisory lock on a connection that
nobody else has. When the process dies the kernel closes that connection, Postgres frees the lock, and beat sees it
within a second.
"""

import json
import logging
import os
import queue
import select
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast

from ...state import ids, runs, status, workers
from ...state.database import Session
from ...state.errors import StateUnavailable
from ...state.workers import Worker
from ..operate import repairs

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.2  # between two attempts to reach Postgres
OVERDUE = "billiard.exceptions.TimeLimitExceeded"
END_SECONDS = 5.0  # how long a shutdown waits for the last word to Postgres


class LostChild(NamedTuple):
    """A process of the pool that died while it had a message. `run_id` is the message's; the run it executed may be
    another one, and is found by the pid. `is_overdue`: it was killed for the hard time limit of its task."""

    pid: int | None
    run_id: str
    cause: str
    is_overdue: bool = False


class Lifeline(threading.Thread):
    """A daemon thread, because steps that need the pool are stopped before the pool has joined: it ends by `end()`."""

    def __init__(self, durable: "Celeriac", describe: Callable[[], Worker], is_consuming: Callable[[], bool]):
        super().__init__(name="celeriac-lifeline", daemon=True)
        self._durable, self._describe, self._is_consuming = durable, describe, is_consuming
        self._lost: queue.SimpleQueue[LostChild] = queue.SimpleQueue()
        self._revoked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = os.pipe()
        self._ending = threading.Event()
        self._is_in_touch = True
        self._is_declared = False

    def lost_child(self, pid: int | None, run_id: str, cause: str, is_overdue: bool = False) -> None:
        """A child died. Does not wait: called on the worker's event loop."""
        self._lost.put(LostChild(pid, run_id, cause, is_overdue))
        self.wake()

    def cancel(self, run_id: str) -> None:
        """A run was revoked by Celery's control, and its message is dropped. Does not wait."""
        self._revoked.put(run_id)
        self.wake()

    def wake(self) -> None:
        """Beat now rather than at the next interval. Safe in a signal handler."""
        os.write(self._wake_writer, b"!")

    def end(self) -> None:
        """The worker has shut down in order: says so, and gives the lock back."""
        self._ending.set()
        self.wake()
        self.join(END_SECONDS)

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self._live()
            except StateUnavailable as error:
                if self._is_in_touch:
                    log.warning("this worker is out of touch with Postgres; the steps of its runs go on: %s", error)
                self._is_in_touch = False
                self._ending.wait(RECONNECT_SECONDS)
            except Exception:  # a watch that ended by a fault of its own would let a living worker count as lost
                log.exception("the lifeline of this worker begins again")
                self._ending.wait(self._durable.settings.heartbeat_seconds)

    def _live(self) -> None:
        database, worker = self._durable.database, self._describe()
        if not self._is_declared:  # once: after an outage an old worker must not put old declarations back
            self._durable.register()
            self._is_declared = True
        workers.register(database, worker)
        session = database.session()
        _sessions.add(session)
        try:
            workers.listen(session)
            is_locked = workers.lock(session, worker.id)
            if not self._is_in_touch:
                log.warning("this worker is in touch with Postgres again")
            self._is_in_touch = True
            self._offer_what_waits()
            while not self._ending.is_set():
                self._rest(session)
                self._report_lost_children(worker)
                self._cancel_revoked()
                is_locked = is_locked or workers.lock(session, worker.id)
                heard = workers.beat(
                    database, worker.id, slots=self._describe().slots, is_consuming=self._is_consuming()
                )
                if heard is None:
                    log.warning("this worker was taken for lost, and registers again")
                    return
                if heard.has_terminations:
                    self._terminate(worker)
                self._mourn(worker, heard.pids)
            workers.stop(database, worker.id, "it shut down")
        finally:
            session.close()

    def _rest(self, session: Session) -> None:
        """Until the next heartbeat, a wake-up, a call through Postgres, or the moment that its connection breaks."""
        poll = select.poll()
        for watched in (self._wake_reader, session.fileno()):
            poll.register(watched, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(self._durable.settings.heartbeat_seconds * 1000)}
        if self._wake_reader in ready:
            os.read(self._wake_reader, 4096)
        if session.fileno() in ready:
            session.hear()

    def _report_lost_children(self, worker: Worker) -> None:
        while not self._lost.empty():
            lost = self._lost.get()
            try:
                self._requeue_lost(worker, lost)
            except StateUnavailable:
                self._lost.put(lost)
                raise

    def _cancel_revoked(self) -> None:
        while not self._revoked.empty():
            revoked = self._revoked.get()
            try:
                repairs.cancel(self._durable, ids.parse("run", revoked), "celery revoke")
            except StateUnavailable:
                self._revoked.put(revoked)
                raise

    def _terminate(self, worker: Worker) -> None:
        """Kills the processes of runs that are to be terminated: their death is reported as any other. A run that has
        none of its own (pools of threads) is taken away from its thread, which can write nothing more."""
        database = self._durable.database
        for run in runs.to_be_terminated(database, worker.id):
            if run.worker_pid != os.getpid():
                told = f"is terminated: process {run.worker_pid} is killed"
                self._durable.logbook.tell(log, logging.WARNING, run, told)
                with suppress(ProcessLookupError):
                    os.kill(cast(int, run.worker_pid), signal.SIGKILL)
                continue
            for taken in runs.requeue(database, worker.id, "it was terminated", id=run.id):
                told = f"is terminated: taken from its thread, it is {taken.status}"
                self._durable.logbook.tell(log, logging.WARNING, taken, told)
                self._durable.dispatcher.take_back(taken)

    def _mourn(self, worker: Worker, pids: Sequence[int]) -> None:
        """The runs of processes that are gone, and of whose death Celery did not tell. Where two die at once it gives
        the message of the second one to another process, which finds the run claimed."""
        gone = [pid for pid in pids if not _is_alive(pid)]
        if gone:
            self._report_lost_children(worker)  # Celery tells why before it kills one: for a time limit, it fails
        for pid in gone:
            self._requeue(worker, pid, f"process {pid} is gone")

    def _requeue_lost(self, worker: Worker, lost: LostChild) -> None:
        if lost.is_overdue and lost.pid is not None:
            self._fail_overdue(worker, lost.pid, lost.cause)
        if lost.pid is not None and self._requeue(worker, lost.pid, lost.cause):
            return
        unclaimed = runs.get(self._durable.database, ids.parse("run", lost.run_id))
        if unclaimed is not None and unclaimed.status == status.QUEUED:  # it died before it had claimed the run
            self._durable.dispatcher.publish_again(unclaimed)

    def _fail_overdue(self, worker: Worker, pid: int, cause: str) -> None:
        """What that process executed fails: it is killed for the hard time limit of a task."""
        error = {"type": OVERDUE, "message": cause, "traceback": None, "step": None}
        for run in runs.fail_overdue(self._durable.database, worker.id, pid, json.dumps(error)):
            self._durable.logbook.tell(log, logging.ERROR, run, f"is killed: {cause}")
            self._durable.dispatcher.take_back(run)

    def _requeue(self, worker: Worker, pid: int, cause: str) -> bool:
        """Whether that process held a run."""
        requeued = runs.requeue(self._durable.database, worker.id, cause, pid)
        for run in requeued:
            told = f"lost its process {pid} ({cause}), and is {run.status}"
            self._durable.logbook.tell(log, logging.WARNING, run, told)
            self._durable.dispatcher.take_back(run)
        return bool(requeued)

    def _offer_what_waits(self) -> None:
        for name in {workflow.queue.name for workflow in self._durable.workflows()}:
            self._durable.dispatcher.welcome(name)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()


def _leave_sessions_to_the_parent() -> None:
    # Else the lock would live on in the children of a worker whose main process died.
    for session in _sessions:
        session.leave_to_the_parent()


os.register_at_fork(after_in_child=_leave_sessions_to_the_parent)
