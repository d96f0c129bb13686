"""`celeriac schedules`."""

from ...api import documents
from ...state import schedules
from ...workflows import Celeriac
from . import as_json, show
from . import command as make


@make(as_json, name="schedules")
def command(durable: Celeriac, as_json: bool) -> None:
    """List schedules, the next due first."""
    columns = ("workflow", "kind", "expression", "timezone", "next_due_at", "last_due_at", "ticks")
    show([documents.schedule(row) for row in schedules.every(durable.database)], columns, as_json)
