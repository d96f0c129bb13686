"""`celeriac workers`."""

from ...api.rest import documents
from ...state import workers
from ...workflows import Celeriac
from . import as_json, show
from . import command as make


@make(as_json, name="workers")
def command(durable: Celeriac, as_json: bool) -> None:
    """List the workers that are alive."""
    rows = [documents.worker(row) for row in workers.alive(durable.database)]
    show(rows, ("name", "pid", "pool", "slots", "busy", "heartbeat_at"), as_json)
