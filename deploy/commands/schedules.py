"""`celeriac schedules`."""

import json
from datetime import UTC, datetime
from typing import Any

import click

from ...api import wording
from ...api.rest import documents
from ...api.rest.schedules import POLICIES, merged, spec_of
from ...state import schedules
from ...state.schedules import ScheduleRow
from ...workflows import Celeriac, Cron, Every
from ...workflows.errors import UsageError
from ...workflows.schedules.control import ScheduleControl
from ...workflows.schedules.schedule import NEVER, Schedule
from . import as_json, show
from . import command as make

COLUMNS = ("key", "starts", "when", "timezone", "next", "last", "ticks", "state")
TICKS = 20  # that a terminal shows
ACTOR = "cli"
ACTIONS = ("ls", "show", "create", "update", "pause", "resume", "delete", "run", "next", "backfill")
GIVEN = ("cron", "every", "timezone", "catch_up", "overlap", "jitter", "start", "end")


@make(
    click.argument("action", type=click.Choice(ACTIONS), default="ls"),
    click.argument("key", required=False),
    click.option("--workflow", help="What it starts: a workflow, or a plain Celery task. ls: only those of it."),
    click.option("--payload", help="JSON object, a member for each parameter."),
    click.option("--cron", help='Five fields, or six with seconds: "0 8 * * 1-5".'),
    click.option("--every", type=float, metavar="SECONDS"),
    click.option("--timezone", help="IANA name; next: the zone to tell the times in."),
    click.option("--catch-up", type=click.Choice(["skip", "one", "all"])),
    click.option("--overlap", type=click.Choice(["allow", "skip", "queue_one", "cancel_running"])),
    click.option("--jitter", type=float, metavar="SECONDS"),
    click.option("--start", metavar="ISO", help="No tick before; backfill: from there. Without offset: UTC."),
    click.option("--end", metavar="ISO", help="No tick after; backfill: up to there."),
    click.option("--external-id", help="Of whom it is. ls: only those of it."),
    click.option("--note", help="pause: why."),
    click.option("--dry-run", is_flag=True, help="backfill: only say what is missing."),
    click.option("-n", "--limit", type=int, help="How many to list (20), or next times (5)."),
    as_json,
    name="schedules",
)
def command(durable: Celeriac, action: str, key: str | None, as_json: bool, **given: Any) -> None:
    """List schedules, make and change them, pause them, fire them, and see when they are due next.

    \b
    celeriac -A shop schedules create "report of c1" --workflow report --payload '{"customer": "c1"}' --cron "0 8 * * *"
    celeriac -A shop schedules pause "report of c1" --note "on holiday"
    celeriac -A shop schedules next "report of c1" -n 10 --timezone America/New_York
    celeriac -A shop schedules backfill "report of c1" --start 2026-01-01 --end 2026-01-31 --dry-run
    """
    if action == "ls":
        _list(durable, key, given, as_json)
        return
    if not key:
        raise UsageError(f"which schedule? Say `schedules {action} KEY`; `schedules ls` lists them")
    control = durable.schedule(key)
    if action == "next":
        _next(control, given["limit"] or 5, given["timezone"], as_json)
    elif action == "backfill":
        _backfill(control, given, as_json)
    elif action == "run":
        run = control.run_now(ACTOR)
        click.echo(json.dumps({"run": run.id if run else None}) if as_json else run.id if run else "sent by beat")
    else:
        row = _done(control, action, given)
        _show(durable, control, row, as_json, is_whole=action == "show")


def _done(control: ScheduleControl, action: str, given: dict[str, Any]) -> ScheduleRow:
    """Does it, and returns the schedule as it is then."""
    match action:
        case "create":
            if not given["workflow"]:
                raise UsageError("what does it start? Say --workflow NAME")
            schedule, payload = _schedule(given), _payload(given["payload"]) or {}
            return control.create(given["workflow"], schedule, payload, external_id=given["external_id"], actor=ACTOR)
        case "update":
            return _update(control, given)
        case "pause":
            return control.pause(ACTOR, given["note"])
        case "resume":
            return control.resume()
        case "delete":
            return control.delete()
    return control.row


def _update(control: ScheduleControl, given: dict[str, Any]) -> ScheduleRow:
    changes = {name: given[name] for name in GIVEN if given[name] is not None}
    schedule = _schedule(merged(spec_of(control.row), changes)) if changes else None
    what: dict[str, Any] = {}
    if given["payload"] is not None:
        what["payload"] = _payload(given["payload"])
    if given["external_id"] is not None:
        what["external_id"] = given["external_id"]
    return control.update(schedule, target=given["workflow"], **what)


def _schedule(given: dict[str, Any]) -> Schedule:
    policies = {name: given[name] for name in ("timezone", *POLICIES) if given.get(name) is not None}
    policies |= {name: _moment(policies[name], name) for name in ("start", "end") if name in policies}
    if (given.get("cron") is None) == (given.get("every") is None):
        raise UsageError('when? Say --cron "0 8 * * *", or --every SECONDS')
    return Cron(given["cron"], **policies) if given.get("cron") is not None else Every(given["every"], **policies)


def _list(durable: Celeriac, key: str | None, given: dict[str, Any], as_json: bool) -> None:
    if key is not None:
        raise UsageError(f"ls lists all schedules: say `schedules show {key!r}` for one")
    chosen = schedules.Filter(workflow=given["workflow"], external_id=given["external_id"])
    rows, now = schedules.find(durable.database, chosen, given["limit"] or 20), durable.database.now()
    show([documents.schedule(row) if as_json else _row(row, now) for row in rows], COLUMNS, as_json)


def _show(durable: Celeriac, control: ScheduleControl, row: ScheduleRow, as_json: bool, is_whole: bool) -> None:
    ticks = [documents.tick(each) for each in control.ticks(TICKS)] if is_whole else []
    if as_json:
        click.echo(json.dumps(documents.schedule(row) | ({"newest_ticks": ticks} if is_whole else {}), indent=2))
        return
    show([_row(row, durable.database.now())], COLUMNS, as_json=False)
    if is_whole:
        click.echo()
        _next(control, 5, None, as_json=False)
        click.echo()
        show(ticks, ("due_at", "outcome", "cause", "run_id", "note"), as_json=False)


def _next(control: ScheduleControl, n: int, timezone: str | None, as_json: bool) -> None:
    now = control.now()
    told = [
        {"due_at": documents.moment(at), "local": wording.local(at), "in": wording.ago(at, now)}
        for at in control.next_times(n, timezone)
    ]
    show(told, ("local", "in", "due_at"), as_json)


def _backfill(control: ScheduleControl, given: dict[str, Any], as_json: bool) -> None:
    if given["start"] is None or given["end"] is None:
        raise UsageError("of which range? Say --start and --end")
    start, end = (_moment(given[name], name) for name in ("start", "end"))
    done = control.backfill(start, end, dry_run=given["dry_run"], actor=ACTOR)
    if as_json:
        due = [documents.moment(at) for at in done.due]
        click.echo(json.dumps({"due": due, "started": done.started, "failed": done.failed, "held": done.held}))
        return
    if given["dry_run"]:
        click.echo("\n".join([f"{len(done.due)} ticks have not started", *map(wording.local, done.due)]))
        return
    click.echo(f"{done.started} of {len(done.due)} ticks started, {done.failed} failed, {done.held} wait for room")


def _row(row: ScheduleRow, now: datetime) -> dict[str, Any]:
    """A schedule in words."""
    return {
        "key": row.key,
        "starts": row.workflow,
        "when": wording.schedule(row.kind, row.expression),
        "timezone": row.timezone,
        "next": wording.DASH if row.next_fire_at >= NEVER else wording.ago(row.next_fire_at, now),
        "last": wording.ago(row.last_due_at, now),
        "ticks": row.ticks,
        "state": wording.paused(documents.schedule(row)),
    }


def _payload(text: str | None) -> dict[str, Any] | None:
    try:
        document = None if text is None else json.loads(text)
    except ValueError as error:
        raise UsageError(f"--payload is not JSON: {error}") from None
    if document is not None and not isinstance(document, dict):
        raise UsageError('--payload is a JSON object, a member for each parameter: {"customer_id": "c1"}')
    return document


def _moment(text: str, name: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--{name} {text!r} is no moment: write ISO 8601, as 2030-01-31T12:00:00Z") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
