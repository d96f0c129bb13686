"""How a call is made, for the page /docs: by curl, and by the Python client. The tests send each to a real server."""

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

RUN = "run_019ab3c2d4e57f608a9bacbdcedfe0f1"
TOKEN = "tok_019ab3c2d4e57f608a9bacbdcedfe0f1"
CALLER = "client.runs.get({id!r})"

# By operation: its body, and the call of the Python client. Where there is none, it is `client.request`.
BODIES: dict[str, Any] = {
    "runs.trigger": {"payload": {"customer_id": "c1"}, "options": {"tags": ["night"]}},
    "batch.batch": {"payloads": [{"customer_id": "c1"}, {"customer_id": "c2"}]},
    "moves.cancel": {"terminate": True},
    "moves.pause": {"note": "until the supplier is back"},
    "moves.reschedule": {"countdown": 60},
    "moves.replay": {"payload": {"customer_id": "c2"}},
    "moves.fork": {"from_step": "charge#2"},
    "moves.supply": {"output": {"charged": True}},
    "bulk.order": {"action": "retry", "filter": {"workflow": "sync-customer-data", "status": ["failed"]}},
    "signals.send_event": {"name": "paid", "payload": {"order": "o1"}, "key": "payment-17"},
    "signals.send_message": {"payload": {"approved": True}, "topic": "approval"},
    "signals.complete_token": {"result": {"approved": True}},
    "callbacks.complete": {"approved": True},
    "queues.pause": {"note": "the CRM is down"},
    "queues.drain": {"note": "moves to another queue"},
    "queues.limit": {"limits": {"concurrency": 20, "rate": "100/m"}, "note": "for tonight"},
    "queues.reset": {"members": ["rate"]},
    "schedules.create": {"key": "nightly", "workflow": "sync-customer-data", "cron": "0 3 * * *", "payload": {}},
    "schedules.put": {"workflow": "sync-customer-data", "cron": "0 3 * * *", "timezone": "Europe/Berlin"},
    "schedules.change": {"cron": "30 3 * * *"},
    "schedules.pause": {"note": "holidays"},
    "schedules.backfill": {"start": "2030-01-01T00:00:00Z", "end": "2030-01-08T00:00:00Z", "dry_run": True},
    "endpoints.create": {"name": "github", "verify": "github", "routes": [{"workflow": "sync-customer-data"}]},
    "endpoints.pause": {"note": "the shop moves"},
    "endpoints.add_secret": {"secret": "as its sender shows it"},
    "endpoints.rotate": {"secret": "as its sender shows it", "overlap_seconds": 3600},
    "deliveries.replay": {},
    "deliveries.discard": {"reason": "sent by mistake"},
    "deliveries.replay_many": {"filter": {"endpoint": "github"}, "dry_run": True},
    "deliveries.discard_many": {"filter": {"endpoint": "github"}, "reason": "sent by mistake", "dry_run": True},
    "quarantine.verify_many": {"endpoint": "github"},
    "keys.create": {"name": "dashboard", "scopes": ["runs:read", "queues:read"]},
    "keys.rotate": {"overlap_seconds": 3600},
    "keys.make_run_token": {"expires_in_seconds": 3600},
    "subscriptions.create": {"name": "crm", "url": "https://crm.example.org/hooks", "events": ["run.failed"]},
    "subscriptions.change": {"events": ["run.failed", "run.crashed"]},
    "subscriptions.pause": {"note": "the CRM moves"},
    "subscriptions.rotate": {"overlap_seconds": 3600},
    "alerts.create": {
        "name": "ops",
        "channel": "webhook",
        "address": "https://pager.example.org/celeriac",
        "events": ["run.failed"],
    },
    "alerts.change": {"cool_down": 3600},
    "alerts.pause": {"note": "the pager moves"},
    "workers.grow": {"processes": 2},
    "workers.shrink": {"processes": 2},
    "workers.autoscale": {"least": 2, "most": 8},
    "workers.add_consumer": {"queue": "imports"},
    "workers.cancel_consumer": {"queue": "imports"},
    "workers.rate_limit": {"task": "shop.mail", "rate": "100/m"},
    "workers.time_limit": {"task": "shop.mail", "soft": 30, "hard": 60},
    "workers.revoke": {"task_id": "d9078da5-9915-40a0-bfa1-392c7bde42ed", "terminate": True},
    "hooks.receive": {"action": "opened"},
}

# Bodies that are a line for each, which the client does not send.
LINES = {"batch.batch_of_all": [{"workflow": "sync-customer-data", "payload": {"customer_id": "c1"}}]}

PYTHON: dict[str, str] = {
    "runs.trigger": "client.trigger({name!r}, {{'customer_id': 'c1'}}, tags=['night'])",
    "batch.batch": "client.batch({name!r}, [{{'customer_id': 'c1'}}, {{'customer_id': 'c2'}}])",
    "runs.find": "client.runs.list(status=['failed', 'crashed'], workflow='sync-customer-data')",
    "runs.show": CALLER,
    "runs.show_steps": f"{CALLER}.steps()",
    "runs.show_history": f"{CALLER}.history()",
    "runs.show_why": f"{CALLER}.why()",
    "runs.show_attempts": f"{CALLER}.attempts()",
    "runs.show_children": f"{CALLER}.children()",
    "logs.of_run": f"{CALLER}.logs(level='WARNING')",
    "stream.of_runs": "client.runs.stream(status='failed')",
    "stream.of_run": f"{CALLER}.stream()",
    "logs.stream": f"{CALLER}.follow_logs()",
    "moves.cancel": f"{CALLER}.cancel(terminate=True)",
    "moves.pause": f"{CALLER}.pause('until the supplier is back')",
    "moves.resume": f"{CALLER}.resume()",
    "moves.retry": f"{CALLER}.retry()",
    "moves.reschedule": f"{CALLER}.reschedule(countdown=60)",
    "moves.replay": f"{CALLER}.replay({{{{'customer_id': 'c2'}}}})",
    "moves.fork": f"{CALLER}.fork('charge#2')",
    "moves.supply": f"{CALLER}.supply({{key!r}}, {{{{'charged': True}}}})",
    "bulk.order": "client.bulk('retry', {{'workflow': 'sync-customer-data', 'status': ['failed']}})",
    "signals.send_event": "client.send_event('paid', {{'order': 'o1'}}, key='payment-17')",
    "signals.send_message": f"{CALLER}.send({{{{'approved': True}}}}, topic='approval')",
    "signals.complete_token": "client.complete_token({id!r}, {{'approved': True}})",
    "queues.list_queues": "client.queues.list()",
    "queues.show": "client.queues.get({name!r})",
    "queues.pause": "client.queues.pause({name!r}, 'the CRM is down')",
    "queues.resume": "client.queues.resume({name!r})",
    "queues.drain": "client.queues.drain({name!r}, 'moves to another queue')",
    "queues.limit": "client.queues.limit({name!r}, concurrency=20, rate='100/m')",
    "schedules.list_schedules": "client.schedules.list(workflow='sync-customer-data')",
    "schedules.show": "client.schedules.get({key!r})",
    "schedules.put": "client.schedules.put({key!r}, workflow='sync-customer-data', cron='0 3 * * *')",
    "schedules.change": "client.schedules.change({key!r}, cron='30 3 * * *')",
    "schedules.delete": "client.schedules.delete({key!r})",
    "schedules.pause": "client.schedules.pause({key!r}, 'holidays')",
    "schedules.resume": "client.schedules.resume({key!r})",
    "schedules.run": "client.schedules.run({key!r})",
    "catalogue.list_workflows": "client.workflows()",
    "catalogue.list_workers": "client.workers()",
}


def curl(server: str, method: str, path: str, operation: str, has_key: bool) -> str:
    """The command that makes a call. `path` is that of the document, with examples in place of its parameters."""
    parts = [f"curl {'' if method == 'GET' else f'-X {method} '}{shlex.quote(server + path)}"]
    if has_key:
        parts.append('-H "Authorization: Bearer $CELERIAC_API_KEY"')
    if operation in BODIES:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {shlex.quote(json.dumps(BODIES[operation], ensure_ascii=False))}")
    if operation in LINES:
        lines = "".join(f"{json.dumps(each)}\n" for each in LINES[operation])
        parts += ["-H 'Content-Type: application/x-ndjson'", f"--data-binary {shlex.quote(lines)}"]
    return " \\\n  ".join(parts)


def python(method: str, path: str, operation: str, examples: Mapping[str, str]) -> str:
    """The call of the Python client; empty where it has none. `examples` are those of the path's parameters."""
    if operation in LINES:
        return ""
    if operation in PYTHON:
        return PYTHON[operation].format(**examples)
    body = f", {BODIES[operation]!r}" if operation in BODIES else ""
    return f"client.request({method!r}, {path!r}{body})"


def filled(path: str, examples: Mapping[str, str]) -> str:
    """A path of the document with examples in place of its parameters."""
    for name, example in examples.items():
        path = path.replace(f"{{{name}}}", quote(example, safe=""))
    return path
