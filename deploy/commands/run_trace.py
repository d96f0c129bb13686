"""`celeriac runs trace`: what happened in a run and in those that it started, as a tree."""

import json

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ...api import wording
from ...api.rest import traces
from ...workflows import Celeriac
from ...workflows.signals.spans import ERROR, Span
from ...workflows.signals.traces import trace_of
from . import as_json
from . import command as make
from .run_filter import run_id

LIMIT = 500  # spans


@make(
    click.argument("id", required=False),
    click.option("--limit", default=LIMIT, show_default=True, help="Spans at most."),
    as_json,
    name="trace",
)
def trace(durable: Celeriac, id: str | None, limit: int, as_json: bool) -> None:
    """Print the trace that a run belongs to, as a tree."""
    found = trace_of(durable.database, run_id(id), limit)
    if found is None:
        raise click.ClickException(f"there is no run {id}: it never was, or its retention is over")
    if as_json:
        click.echo(json.dumps(traces.document(found), indent=2))
        return
    top = Tree(Text(f"trace {found.trace_id}", style="bold"))
    path = [top]
    for depth, span in found.spans:
        del path[depth + 1 :]
        path.append(path[-1].add(_line(span)))
    Console(highlight=False).print(top)
    if found.is_truncated:
        click.echo(f"These are the first {len(found.spans)} spans: --limit shows more.")


def _line(span: Span) -> Text:
    took = wording.duration((span.end - span.start).total_seconds()) if span.end else "goes on"
    line = Text(span.name, style="red" if span.status == ERROR else "")
    line.append(f"  {took}", style="dim")
    if span.message:
        line.append(f"  {' '.join(span.message.split())}", style="red")
    return line
