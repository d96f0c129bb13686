"""Kills the process that executes a run, with SIGKILL, at one moment of the run's life. Loaded by workers that have
`MOMENTS` in their environment.

A moment is `before` or `after` a statement that an execution sends to Postgres, and which one of its kind:
`after steps_record 2`. What stands between two statements, bodies above all, lies between two moments. Those that a
family of runs (a run, its children, its hooks) met are lines of the file `MOMENTS/<root>`. `MOMENTS/<root>.kill` names
the one to die at, once; `answer to COMMIT 1` is none to die at: there the connection breaks, and the answer is lost.
"""

import os
import signal
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine.default import DefaultDialect

from celeriac.state.database import Line

MOMENTS = Path(os.environ["MOMENTS"])

_family: ContextVar[UUID | None] = ContextVar("family", default=None)


def meet(moment: str, family: UUID | None) -> None:
    """Notes the moment, and dies if it is the one."""
    if family is not None and is_the_one(moment, family):
        os.kill(os.getpid(), signal.SIGKILL)


def is_the_one(moment: str, family: UUID) -> bool:
    """Notes the moment. True once, for the one that was chosen."""
    met = MOMENTS / family.hex
    with met.open("a", buffering=1) as file:
        file.write(f"{moment}\n")
    plan = MOMENTS / f"{family.hex}.kill"
    if not plan.exists():
        return False
    wanted, _, number = plan.read_text().rpartition(" ")
    if moment != wanted or met.read_text().splitlines().count(moment) < int(number):
        return False
    plan.rename(plan.with_suffix(".killed"))
    return True


def install() -> None:
    """Watches the statements of this process: those on held connections, and those in transactions."""
    _watch_lines()
    event.listen(sqlalchemy.Engine, "before_cursor_execute", lambda c, cursor, words, *_: _meet("before", words))
    event.listen(sqlalchemy.Engine, "after_cursor_execute", lambda c, cursor, words, *_: _meet("after", words))
    commit = DefaultDialect.do_commit

    def do_commit(self: Any, connection: Any) -> None:
        _meet("before", "COMMIT")
        family = _family.get()
        if family is not None and is_the_one("answer to COMMIT", family):
            with socket.socket(fileno=os.dup(connection.driver_connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RD)  # what is sent arrives, and nothing comes back
        commit(self, connection)
        _meet("after", "COMMIT")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _watch_lines() -> None:
    execute = Line.all

    def all(self: Line, statement: str, values: Mapping[str, Any]) -> Any:
        handle = getattr(statement, "handle", "")
        _meet("before", statement, values["claim_id"] if handle == "runs_claim" else None)
        rows = execute(self, statement, values)
        claimed = next((row for row in rows if row.get("has_steps") is not None), None)
        if handle == "runs_claim" and claimed:
            _family.set(claimed["root_id"])
        _meet("after", statement)
        if handle == "runs_complete_and_claim" and claimed:
            _family.set(claimed["root_id"])
        return rows

    Line.all = all  # type: ignore[method-assign]


def _meet(when: str, statement: str, family: UUID | None = None) -> None:
    words = [line for line in statement.splitlines() if not line.startswith("--")]
    name = getattr(statement, "handle", " ".join(" ".join(words).split()[:3]))
    meet(f"{when} {name}", family or _family.get())
