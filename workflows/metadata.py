"""What a run publishes while it runs: values that others read at any time, on its own row, its parent's or its
root's."""

from typing import Any

from ..state import payload, runs
from ..state.errors import Superseded
from .engine.execution import Execution
from .engine.outcome import Lost
from .errors import UsageError
from .step import checked_name


class Metadata(dict[str, Any]):
    """The metadata of a run: `current_run().metadata`. To read it is a dict, as it was when this execution began, with
    the edits that were made here. Edits are written at once.

    An edit by the workflow function is made once, however often its line is replayed; one in a step's body is made
    again when the body runs again. `parent` and `root` edit those runs, and hold no values to read.

    >>> current_run().metadata.set("customer", "c1")
    >>> current_run().metadata.root.increment("customers_done")
    """

    def __init__(self, execution: Execution, target: str, values: dict[str, Any]):
        super().__init__(values)
        self._execution, self._target = execution, target

    @property
    def parent(self) -> "Metadata":
        """That of the run which started this one. Raises UsageError where none did."""
        if self._execution.run.parent_id is None:
            raise UsageError(f"{self._execution.id} has no parent: nothing started it inside a run")
        return Metadata(self._execution, "parent", {})

    @property
    def root(self) -> "Metadata":
        """That of the run at the top of the family; of this one, where it is that itself."""
        is_root = self._execution.run.root_id == self._execution.run.id
        return self if is_root else Metadata(self._execution, "root", {})

    def set(self, key: str, value: Any) -> None:
        """Sets a value, any that JSON can hold. Raises NotSerializable."""
        if self._edit("set", key, value):
            self[key] = value

    def increment(self, key: str, by: float = 1) -> None:
        """Adds to a number; one that is not there is 0. Raises UsageError where it is no number."""
        if self._edit("increment", key, by):
            self[key] = self.get(key, 0) + by

    def append(self, key: str, value: Any) -> None:
        """Appends to a list; one that is not there is empty. Raises UsageError where it is no list."""
        if self._edit("append", key, value):
            self[key] = [*self.get(key, ()), value]

    def remove(self, key: str) -> None:
        """Removes a value, if it is there."""
        if self._edit("remove", key, None):
            self.pop(key, None)

    def progress(self, done: float, total: float, note: str = "") -> None:
        """How far the run is, `done` of `total`: the page shows it. It is the value of `progress`."""
        self.set("progress", {"done": done, "total": total, "note": note})

    def _edit(self, operation: str, key: str, value: Any) -> bool:
        execution = self._execution
        seq: int | None = None
        if execution.step_inside is None:
            execution.refuse_in_task("an edit of metadata", "make it in the body of a step, or in the function itself")
            seq = execution.next_edit()
        text = payload.encode(value, f"metadata {checked_name(key, 'a value of metadata')!r} of {execution.id}")
        try:
            return execution.outlast(lambda: runs.edit_metadata(
                execution.database, execution.run.id, execution.run.epoch,
                target=self._target, operation=operation, key=key, value=text, seq=seq,
            ))  # fmt: skip
        except ValueError as error:
            raise UsageError(f"{operation} of metadata {key!r} of {execution.id}: {error}") from None
        except Superseded:
            execution.interrupt(Lost())
