"""The state machine of a run, as data. The diagram in README.md is made from it; every move is a verb of
runs.sql or repairs.sql."""

from typing import NamedTuple

DELAYED = "delayed"  # its time has not come: started for later, or waiting for a retry
QUEUED = "queued"  # ready; stands in the ready queue until a slot is free
RUNNING = "running"  # a worker holds it
WAITING = "waiting"  # suspended in the middle, holds nothing
COMPLETED = "completed"
FAILED = "failed"  # the code raised, and its retries are spent
CANCELLED = "cancelled"
EXPIRED = "expired"  # its ttl passed before it first started
TIMED_OUT = "timed_out"  # longer than its max_duration
CRASHED = "crashed"  # its worker died max_crashes times without a checkpoint between

LIVE = (DELAYED, QUEUED, RUNNING, WAITING)
FINAL = (COMPLETED, FAILED, CANCELLED, EXPIRED, TIMED_OUT, CRASHED)
STATUSES = LIVE + FINAL


class Move(NamedTuple):
    """One arrow of the diagram. `source` None is a run that does not exist yet."""

    source: str | None
    verb: str
    target: str
    cause: str


MOVES = (
    Move(None, "start", QUEUED, "triggered"),
    Move(None, "start", DELAYED, "triggered for later"),
    Move(DELAYED, "wake", QUEUED, "its time has come"),
    Move(DELAYED, "reschedule", QUEUED, "its time was moved, to now"),
    Move(WAITING, "wake", QUEUED, "what it waited for has come"),
    Move(QUEUED, "claim", RUNNING, "a worker took it"),
    Move(RUNNING, "complete", COMPLETED, "the function returned"),
    Move(RUNNING, "fail", FAILED, "the function raised, retries are spent"),
    Move(RUNNING, "fail_overdue", FAILED, "its hard time limit passed"),
    Move(RUNNING, "postpone", DELAYED, "the function raised, it is tried again later"),
    Move(RUNNING, "suspend", WAITING, "the function waits"),
    Move(RUNNING, "hand_off", QUEUED, "its worker shuts down, it is paused, or it has to clean up"),
    Move(RUNNING, "requeue", QUEUED, "its worker was lost"),
    Move(RUNNING, "requeue", CRASHED, "its worker was lost too often"),
    Move(RUNNING, "requeue", CANCELLED, "its worker was lost, and it was to be cancelled"),
    Move(RUNNING, "requeue", TIMED_OUT, "its worker was lost, and its max_duration was over"),
    Move(RUNNING, "conclude", CANCELLED, "it was cancelled"),
    Move(RUNNING, "conclude", FAILED, "it failed, and has cleaned up"),
    Move(RUNNING, "conclude", TIMED_OUT, "it took longer than its max_duration"),
    Move(RUNNING, "conclude", CRASHED, "its worker was lost too often, and it has cleaned up"),
    Move(DELAYED, "cancel", CANCELLED, "cancelled"),
    Move(QUEUED, "cancel", CANCELLED, "cancelled"),
    Move(WAITING, "cancel", CANCELLED, "cancelled"),
    Move(DELAYED, "cancel", QUEUED, "cancelled, it cleans up first"),
    Move(WAITING, "cancel", QUEUED, "cancelled, it cleans up first"),
    Move(DELAYED, "time_out", TIMED_OUT, "it took longer than its max_duration"),
    Move(QUEUED, "time_out", TIMED_OUT, "it took longer than its max_duration"),
    Move(WAITING, "time_out", TIMED_OUT, "it took longer than its max_duration"),
    Move(DELAYED, "time_out", QUEUED, "it took longer than its max_duration, it cleans up first"),
    Move(WAITING, "time_out", QUEUED, "it took longer than its max_duration, it cleans up first"),
    Move(DELAYED, "expire", EXPIRED, "its ttl passed"),
    Move(QUEUED, "expire", EXPIRED, "its ttl passed"),
    Move(FAILED, "retry", QUEUED, "retried by hand"),
    Move(TIMED_OUT, "retry", QUEUED, "retried by hand"),
    Move(CRASHED, "retry", QUEUED, "retried by hand"),
    Move(FAILED, "retry", DELAYED, "its parent failed by it, and is tried again later"),
    Move(TIMED_OUT, "retry", DELAYED, "its parent failed by it, and is tried again later"),
    Move(CRASHED, "retry", DELAYED, "its parent failed by it, and is tried again later"),
)


def diagram() -> str:
    """The state machine as a Mermaid diagram, as README.md shows it."""
    lines = ["stateDiagram-v2"]
    for move in MOVES:
        lines.append(f"    {move.source or '[*]'} --> {move.target}: {move.verb} ({move.cause})")
    lines += [f"    {status} --> [*]" for status in FINAL]
    return "\n".join(lines)
