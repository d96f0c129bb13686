"""A run as code that starts it again: by curl, by the Python client, by `trigger`; or as a fixture for pytest.

What the page hides stands in them as ***, to be filled in.
"""

import ast
import json
import keyword
import re
from collections.abc import Callable
from pprint import pformat
from typing import Any, NamedTuple
from urllib.parse import quote

from ...state import steps
from ...state.ids import public
from ...state.runs import RunRow
from .. import wording
from ..current import database
from .document import hidden
from .page import has_key, server_url

WIDTH = 100
STEPS, OUTPUT_BYTES = 1000, 65_536  # what a fixture holds at most


class Copy(NamedTuple):
    """A form in which a run is copied: what it is called, the ending of its file, and what makes it."""

    title: str
    ending: str
    made: Callable[[RunRow], str]


def as_curl(run: RunRow) -> str:
    return wording.curl(server_url(), quote(run.workflow, safe=""), _payload(run), has_key()) + "\n"


def as_client(run: RunRow) -> str:
    """A script that needs nothing but the client."""
    imports = "import json\nimport os\n" if has_key() else "import json\n"
    key = ', api_key=os.environ["CELERIAC_API_KEY"]' if has_key() else ""
    body = f"""from celeriac.api.client import Client

client = Client({server_url()!r}{key})
run = client.trigger(
    {run.workflow!r},
    {_indented(literal(_payload(run)), 4)},
{_tags(run)})
print(run.id)
"""
    return _with_imports(imports, body)


def as_trigger(run: RunRow) -> str:
    """For the shop's own code."""
    body = f"""from celeriac import trigger

run = trigger(
    {run.workflow!r},
    {_indented(literal(_payload(run)), 4)},
{_tags(run)})
"""
    return _with_imports("import json\n", body)


def as_fixture(run: RunRow) -> str:
    """A module with a fixture that holds what the run was given, what its steps returned, and its own result."""
    found = steps.outputs(database(), run.id, STEPS + 1, OUTPUT_BYTES)
    kept = {str(row["key"]): _hidden(row["output"]) for row in found[:STEPS] if row["output"] is not None}
    left_out = [str(row["key"]) for row in found[:STEPS] if row["output"] is None]
    held: dict[str, Any] = {
        "id": public("run", run.id),
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status,
        "payload": _payload(run),
        "steps": kept,
        "output": _hidden(run.output) if run.output else None,
        "error": _failure(run),
    }
    members = "".join(f"        {name!r}: {_indented(literal(value), 8)},\n" for name, value in held.items())
    notes = [f"# Left out, longer than {OUTPUT_BYTES} bytes: {key!r}" for key in left_out]
    notes += [f"# Left out: all steps after the first {STEPS}"] * (len(found) > STEPS)
    name = identifier(run.workflow)
    body = f"""import pytest

{"".join(f"{note}{chr(10)}" for note in notes)}
@pytest.fixture
def {name}_run():
    \"\"\"What {public("run", run.id)} was given, and what its steps returned.\"\"\"
    return {{
{members}    }}
"""
    return _with_imports("import json\n", body)


COPIES = {
    "curl": Copy("curl", "sh", as_curl),
    "client": Copy("Python client", "py", as_client),
    "trigger": Copy("trigger()", "py", as_trigger),
    "pytest": Copy("pytest fixture", "py", as_fixture),
}


def literal(value: Any) -> str:
    """An expression with this value: a literal, or where Python has none for it, JSON that is decoded."""
    try:
        text = pformat(value, width=WIDTH, sort_dicts=False)
        if ast.literal_eval(text) == value:
            return text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass  # infinity, what is nested too deeply, what has too many digits
    return f"json.loads({json.dumps(value)!r})"


def identifier(workflow: str) -> str:
    """A workflow's name as one of Python."""
    name = re.sub(r"\W+", "_", workflow, flags=re.ASCII).strip("_").lower() or "workflow"
    return f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


def _payload(run: RunRow) -> Any:
    return _hidden(run.payload)


def _failure(run: RunRow) -> Any:
    if not run.error:
        return None
    document = json.loads(run.error)
    return {name: document.get(name) for name in ("type", "message", "step")}


def _hidden(text: str | None) -> Any:
    return hidden(text or "null")


def _tags(run: RunRow) -> str:
    return f"    tags={run.tags!r},\n" if run.tags else ""


def _indented(text: str, by: int) -> str:
    return text.replace("\n", "\n" + " " * by)


def _with_imports(imports: str, body: str) -> str:
    """Without those that are not needed."""
    needed = "".join(f"{line}\n" for line in imports.splitlines() if re.search(rf"\b{line.split()[-1]}\.", body))
    return needed + ("\n" if needed else "") + body
