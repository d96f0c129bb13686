"""What the statements of queues.sql do in the test kit: there every queue takes what comes, and has no limits."""

from ...state.database import Row
from .. import registry
from .tables import Tables

_NOTHING: Row = dict.fromkeys(("paused_at", "paused_by", "pause_note", "draining_at", "draining_by"))
_DOCUMENTS: Row = dict.fromkeys(("declared", "overrides", "limits"), "{}")


def all(tables: Tables, *, name: str | None, deaf_seconds: float) -> list[Row]:
    if name is None:
        return []
    known = list(registry.workflows())
    return [_NOTHING | _DOCUMENTS | {"name": name, "declared_by": "the test kit", "workflows": known, "revision": 1}]


def join(tables: Tables, *, name: str, workflow: str) -> list[Row]:
    return []
