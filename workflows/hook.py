"""What `on_success`, `on_failure` and `on_cancel` are told: runs that the end of another one starts, in the transaction
that ends it (by the trigger `start_hook`, see 0004_endings.sql)."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What a hook is told: its one argument, `run`.

    `status` is completed for on_success; failed, timed_out or crashed for on_failure; cancelled or expired for
    on_cancel. `error` is None or {"type", "message", "traceback", "step"}.
    """

    id: str
    workflow: str
    status: str
    payload: dict[str, Any]
    output: Any = None
    error: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
