"""What `celeriac webhooks` does with deliveries: send a signed sample, forward stored ones, replay, discard."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen
from uuid import UUID

import click

from ...api.hooks.vault import Vault
from ...api.hooks.verify import Request
from ...api.hooks.verify.sign import address, signed
from ...api.rest import webhook_documents as documents
from ...state import deliveries
from ...state import inbox as lists
from ...state.deliveries import DeliveryRow
from ...state.ids import new_id, parse, public
from ...state.inbox import Filter
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.webhooks import replay as letters
from . import as_json, fail, show
from . import command as make

LOCAL = "http://localhost:8484"
TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.5
PAGE = 100
ACTOR = "cli"
COLUMNS = ("id", "endpoint", "status", "event_type", "reason", "received_at")
OWN_HEADERS = frozenset({"host", "content-length", "connection", "transfer-encoding", "keep-alive", "upgrade"})


@make(
    click.argument("name"),
    click.argument("body", default='{"hello": "world"}'),
    click.option("--type", "event_type", help="Of the event, where its sender tells that in a header."),
    click.option("--id", "id_", help="Of the delivery; by default a new one each time."),
    click.option("--url", help=f"Of the API [default: the setting public_url, or {LOCAL}]"),
    click.option("--content-type", default="application/json", show_default=True),
    click.option("--tampered", is_flag=True, help="Change the body after it is signed: 401 is expected."),
    click.option("--stale", is_flag=True, help="Sign it as an hour ago: 401 is expected, where the time is signed."),
    name="send",
)
def send(
    durable: Celeriac, name: str, body: str, event_type: str | None, id_: str | None, url: str | None,
    content_type: str, tampered: bool, stale: bool,
) -> None:  # fmt: skip
    """Send a sample to endpoint NAME, signed as its sender would: with the newest stored secret, else the code's."""
    endpoint = durable.inbox.find(name)
    if endpoint is None:
        raise UsageError(f"there is no webhook endpoint named {name!r}: `webhooks ls` lists them")
    live = Vault(durable).live(endpoint)
    secrets = live[len(endpoint.secrets) :] or live  # those of the code come first
    if endpoint.preset.needs_secret and not secrets:
        raise UsageError(f"endpoint {name!r} has no secret to sign with: `webhooks secrets add {name}`")
    public_url, is_form = durable.settings.public_url.rstrip("/"), "form" in content_type
    path = address(endpoint.preset, f"/hooks/{name}", body.encode(), is_form)
    signed_url = f"{public_url or (url or LOCAL).rstrip('/')}{path}"
    unsigned = Request({"content-type": content_type}, body.encode(), signed_url, endpoint.options)
    headers, content = signed(
        endpoint.preset,
        secrets[0].text if secrets else "",
        unsigned,
        id=id_ or f"sample_{new_id().hex}",
        now=time.time() - (3600 if stale else 0),
        header=endpoint.header,
        event_type=event_type,
    )
    to = f"{(url or public_url or LOCAL).rstrip('/')}{path}"
    status, answer = _post(to, headers, content + b" " if tampered else content)
    click.echo(f"{status} {answer}".rstrip())
    if not 200 <= status < 300:
        fail()


@make(
    click.argument("name"),
    click.option("--to", required=True, metavar="URL", help="Where they go: http://localhost:3000/hook"),
    click.option("--last", default=0, show_default=True, metavar="N", help="Begin with so many that came before."),
    click.option("--once", is_flag=True, help="End when those are forwarded."),
    name="forward",
)
def forward(durable: Celeriac, name: str, to: str, last: int, once: bool) -> None:
    """Forward the stored deliveries of endpoint NAME, with their bytes and headers, as they come. Ctrl-C ends it."""
    if not to.startswith(("http://", "https://")):
        raise UsageError(f"--to {to}: an address with http:// or https:// is expected")
    for row in _arriving(durable, name, last, once):
        status, answer = _post(to, _forwarded(row), row.body)
        click.echo(f"{public('dlv', row.id)} {row.event_type or ''} -> {status} {answer[:80]}".replace("  ", " "))


@make(
    click.argument("id", required=False),
    click.option("--endpoint", help="All dead letters of it."),
    click.option("--reason-code", help="Of these only, as `webhooks replay` lists them."),
    click.option("--body", help="Another body, for one ID."),
    click.option("--dry-run", is_flag=True, help="Only tell how many."),
    as_json,
    name="replay",
)
def replay(
    durable: Celeriac, id: str | None, endpoint: str | None, reason_code: str | None, body: str | None,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Route a delivery again, or all dead letters of an endpoint. Without either: list the dead letters, in groups."""
    if id is not None:
        row = letters.replay(durable, _parsed(id), body=None if body is None else body.encode(), actor=ACTOR)
        show([documents.delivery(row)], COLUMNS, as_json)
        return
    if body is not None:
        raise UsageError("--body is for one delivery: give its ID, too")
    if endpoint is None and reason_code is None:
        groups = [documents.dead(row) for row in deliveries.dead(durable.database)]
        show(groups, ("endpoint", "reason_code", "deliveries", "last_at", "reason"), as_json)
        return
    chosen = Filter(endpoint=endpoint, reason_code=reason_code)
    count = letters.replay_all(durable, chosen, actor=ACTOR, is_dry=dry_run)
    _tell({"matched" if dry_run else "replayed": count}, as_json)


@make(
    click.argument("id", required=False),
    click.option("--endpoint", help="All dead letters of it."),
    click.option("--reason-code", help="Of these only."),
    click.option("--reason", required=True, help="Why; it stands beside the delivery."),
    click.option("--dry-run", is_flag=True, help="Only tell how many."),
    as_json,
    name="discard",
)
def discard(
    durable: Celeriac, id: str | None, endpoint: str | None, reason_code: str | None, reason: str,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Throw away a delivery that has started nothing, or all dead letters of an endpoint; their rows stay."""
    if id is not None:
        show([documents.delivery(letters.discard(durable, _parsed(id), reason, ACTOR))], COLUMNS, as_json)
        return
    if endpoint is None:
        raise UsageError("what is discarded? Give the ID of a delivery, or --endpoint")
    chosen = Filter(endpoint=endpoint, reason_code=reason_code)
    count = letters.discard_all(durable, chosen, reason, actor=ACTOR, is_dry=dry_run)
    _tell({"matched" if dry_run else "discarded": count}, as_json)


def _arriving(durable: Celeriac, name: str, last: int, once: bool) -> Iterator[DeliveryRow]:
    """The last ones, and then those that come, each once, in their order."""
    newest = lists.find(durable.database, Filter(endpoint=name), max(last, 1))
    seen: tuple[datetime, UUID] | None = (newest[0].received_at, newest[0].id) if newest else None
    pending = newest[:last]
    while True:
        for row in reversed(pending):
            if (whole := deliveries.get(durable.database, row.id)) is not None:
                yield whole
        if once:
            return
        time.sleep(POLL_SECONDS)
        since = Filter(endpoint=name, received_from=seen[0] if seen else None)
        fresh = lists.find(durable.database, since, PAGE)
        pending = [row for row in fresh if seen is None or (row.received_at, row.id) > seen]
        if pending:
            seen = (pending[0].received_at, pending[0].id)


def _forwarded(row: DeliveryRow) -> dict[str, str]:
    given: dict[str, str] = json.loads(row.headers)
    return {name: value for name, value in given.items() if name not in OWN_HEADERS} | {
        "x-delivery-id": public("dlv", row.id)
    }


def _post(url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    """Status and text of the answer. Raises ClickException where there is none."""
    try:
        with urlopen(HttpRequest(url, body, headers, method="POST"), timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, answer.read(10_000).decode("utf-8", "replace").strip()
    except HTTPError as error:
        return error.code, error.read(10_000).decode("utf-8", "replace").strip()
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise click.ClickException(f"{url} does not answer: {error}") from None


def _tell(counts: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(counts) if as_json else ", ".join(f"{count} {name}" for name, count in counts.items()))


def _parsed(id: str) -> UUID:
    try:
        return parse("dlv", id)
    except ValueError as error:
        raise UsageError(str(error)) from None
