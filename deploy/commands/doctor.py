"""`celeriac doctor`."""

from dataclasses import asdict

from ...workflows import Celeriac
from ..doctor import examine
from . import as_json, fail, show
from . import command as make


@make(as_json, name="doctor")
def command(durable: Celeriac, as_json: bool) -> None:
    """Check settings, database, migrations, Redis, clocks, workers and versions, and say what to do."""
    found = examine(durable)
    show([asdict(finding) for finding in found], ("check", "verdict", "advice"), as_json)
    if any(finding.verdict == "failed" for finding in found):
        fail()
