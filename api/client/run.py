"""A run, as the Python client sees it over HTTP. Its names are those of `celeriac.Run`."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

from ...state import status
from .. import shapes
from . import stream as client_stream
from .transport import Transport

RUNS = "/api/v1/runs"
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.1, 2.0  # between two looks at a run that is waited for


class RunFailed(Exception):
    """A run did not complete. `status` is how it ended, `error` what it raised."""

    def __init__(self, run: "Run"):
        self.run, self.status = run, run.status
        self.error: shapes.runs.Failure = run.document["error"] or {}
        what = (
            f"{self.error['type']}: {self.error.get('message', '')}" if "type" in self.error else run.document["cause"]
        )
        super().__init__(f"{run.id} of {run.workflow} ended as {self.status}: {what}")


class Run:
    """A handle on a run. It remembers what it last saw; `refresh()` looks again.

    What is not there raises ApiError with status 404, what its status does not allow 409.
    """

    def __init__(self, transport: Transport, known: "shapes.runs.Run | shapes.runs.StartedRun"):
        self._transport, self._known = transport, known
        self._document = cast(shapes.runs.Run, known) if "payload" in known else None

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.workflow}: {self.status}>"

    @property
    def id(self) -> str:
        return self._known["id"]

    @property
    def workflow(self) -> str:
        return self._known["workflow"]

    @property
    def status(self) -> str:
        """As last seen."""
        return self._known["status"]

    @property
    def is_final(self) -> bool:
        """Whether it had ended when it was last seen."""
        return self.status in status.FINAL

    @property
    def document(self) -> shapes.runs.Run:
        """All that is known of it, as last seen."""
        if self._document is None:
            self.refresh()
            assert self._document is not None
        return self._document

    def refresh(self) -> "Run":
        """Looks at it again."""
        return self._now(self._get(""))

    def result(self, timeout: float | None = None) -> Any:
        """Waits until it has ended, and returns its result.

        `timeout` in seconds; default for ever. Raises TimeoutError after it (the run goes on), RunFailed for a run
        that did not complete.
        """
        self.wait(timeout)
        if self.status != status.COMPLETED:
            raise RunFailed(self)
        return self.document["output"]

    def wait(self, timeout: float | None = None) -> "Run":
        """Waits until it has ended. Raises TimeoutError after `timeout` seconds; the run goes on."""
        deadline, pause = None if timeout is None else time.monotonic() + timeout, FIRST_LOOK_SECONDS
        while not self.refresh().is_final:
            remaining = pause if deadline is None else deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"{self.id} is still {self.status} after {timeout:g} s; it goes on")
            time.sleep(min(pause, remaining))
            pause = min(pause * 1.3, LAST_LOOK_SECONDS)
        return self

    def steps(self) -> list[shapes.runs.Step]:
        """Its checkpoints, and what it waits for."""
        found: shapes.runs.StepList = self._get("/steps")
        return found["steps"]

    def history(self) -> list[shapes.runs.Move]:
        found: shapes.runs.MoveList = self._get("/history")
        return found["history"]

    def attempts(self) -> list[shapes.runs.Attempt]:
        found: shapes.runs.AttemptList = self._get("/attempts")
        return found["attempts"]

    def why(self) -> shapes.runs.Why:
        """What it waits for now, gate by gate."""
        found: shapes.runs.Why = self._get("/why")
        return found

    def children(self, **filters: Any) -> "Iterator[Run]":
        """The runs that it started, newest first; filters as of `client.runs.list`."""
        return listed(self._transport, f"{RUNS}/{self.id}/children", filters)

    def logs(self, *, level: str | None = None, step: str | None = None) -> Iterator[shapes.runs.LogLine]:
        """The lines of its log until now, in their order."""
        yield from pages(self._transport, f"{RUNS}/{self.id}/logs", "logs", {"level": level, "step": step})

    def stream(self, *, after: str | None = None) -> Iterator[shapes.runs.RunChange]:
        """What changes of it, as it does, until it has ended: moves, steps, metadata; `after` the change of this id."""
        for each in client_stream.follow(self._transport, f"{RUNS}/{self.id}/stream", {}, after):
            if each.event != client_stream.END:
                yield each.data

    def follow_logs(
        self, *, level: str | None = None, step: str | None = None, after: str | None = None
    ) -> Iterator[shapes.runs.LogLine]:
        """The lines of its log as they come, until it has ended; `after` the line of this id."""
        query = {"level": level, "step": step}
        for each in client_stream.follow(self._transport, f"{RUNS}/{self.id}/logs/stream", query, after):
            if each.event == "line":
                yield each.data

    def cancel(self, *, terminate: bool = False) -> "Run":
        """Cancels it, and its children. `terminate`: the process that executes it is killed."""
        return self._now(self._post("/cancel", {"terminate": terminate}))

    def pause(self, note: str | None = None) -> "Run":
        """Stops it before its next step; its timers go on."""
        return self._now(self._post("/pause", {"note": note}))

    def resume(self) -> "Run":
        return self._now(self._post("/resume"))

    def retry(self) -> "Run":
        """The same run goes on from its failed step."""
        return self._now(self._post("/retry"))

    def reschedule(self, *, countdown: float | None = None, eta: datetime | str | None = None) -> "Run":
        """Gives a delayed run another time: in `countdown` seconds, or at `eta`."""
        body = {"countdown": countdown} if countdown is not None else {"eta": moment(eta)}
        return self._now(self._post("/reschedule", body))

    def replay(self, payload: Mapping[str, Any] | None = None, *, key: str | None = None) -> "Run":
        """A new run with the same payload, or with this one; once for each Idempotency-Key."""
        return Run(self._transport, self._post("/replay", {"payload": payload}, once=key))

    def fork(self, from_step: str, payload: Mapping[str, Any] | None = None, *, key: str | None = None) -> "Run":
        """A new run that keeps the checkpoints before this step; once for each Idempotency-Key."""
        body = {"from_step": from_step, "payload": payload}
        return Run(self._transport, self._post("/fork", body, once=key))

    def supply(self, step: str, output: Any) -> shapes.runs.Step:
        """Gives a step its result, in place of what did not come."""
        done: shapes.runs.SuppliedStep = self._post(f"/steps/{quote(step, safe='')}/supply", {"output": output})
        return done["step"]

    def send(self, payload: Any = None, *, topic: str = "message") -> None:
        """Sends it a message."""
        self._post("/messages", {"payload": payload, "topic": topic})

    def _get(self, below: str) -> Any:
        return self._transport.call("GET", f"{RUNS}/{self.id}{below}").json()

    def _post(self, below: str, body: Mapping[str, Any] | None = None, *, once: str | None = None) -> Any:
        given = {name: value for name, value in (body or {}).items() if value is not None or name == "output"}
        return self._transport.call("POST", f"{RUNS}/{self.id}{below}", body=given, key=once).json()

    def _now(self, known: shapes.runs.Run) -> "Run":
        self._known = self._document = known
        return self


def listed(transport: Transport, path: str, filters: Mapping[str, Any]) -> Iterator[Run]:
    """The runs of a list, page by page as they are asked for."""
    for each in pages(transport, path, "runs", filters):
        yield Run(transport, each)


def pages(transport: Transport, path: str, member: str, query: Mapping[str, Any]) -> Iterator[Any]:
    """What a list has under `member`, page by page as it is asked for."""
    cursor: str | None = None
    while True:
        page = transport.call("GET", path, query={**query, "cursor": cursor}).json()
        yield from page[member]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def moment(at: datetime | str | None) -> str | None:
    """A moment as JSON has it. Raises ValueError for a naive one: no server can tell which it is."""
    if not isinstance(at, datetime):
        return at
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone: write datetime(..., tzinfo=UTC)")
    return at.isoformat()
