"""`before_task_publish` and `after_task_publish`, as the callers of durable tasks know them: sent for the call.

What receivers put into the headers before, as request ids and contexts of logs, is what the task finds in
`self.request.headers`, on each attempt. So do the tasks that are linked to its end.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import signals

from ...state.ids import public
from ...state.runs import NewRun
from .codec import decode, encode

PROTOCOL = (
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps",
)  # fmt: skip
TRACE = ("traceparent", "tracestate")  # in which the run has a place of its own
LINKS = ("link", "link_error")


def before(task: str, new: NewRun, args: Any, kwargs: Any) -> NewRun:
    """Tells the receivers of `before_task_publish`, and keeps the headers that they set. Raises NotSerializable."""
    if not signals.before_task_publish.receivers:
        return new
    said = decode(new.request or "{}")
    given = said.get("headers") or {}
    headers = _headers(task, new, said, args, kwargs)
    signals.before_task_publish.send(
        sender=task,
        body=_body(args, kwargs),
        exchange="",
        routing_key=new.queue,
        declare=[],
        headers=headers,
        properties={"correlation_id": headers["id"], "reply_to": ""},
        retry_policy={},
    )
    kept = {name: headers[name] for name in headers if name not in PROTOCOL and (name in given or name not in TRACE)}
    if kept == given:
        return new
    new_ones = {name: value for name, value in kept.items() if name not in given}
    return replace(new, request=_request(task, said, kept), hooks=_handed_on(task, new.hooks, new_ones))


def after(task: str, new: NewRun, args: Any, kwargs: Any) -> None:
    """Tells the receivers of `after_task_publish`: the row is there."""
    if signals.after_task_publish.receivers:
        headers = _headers(task, new, decode(new.request or "{}"), args, kwargs)
        signals.after_task_publish.send(
            sender=task, body=_body(args, kwargs), headers=headers, exchange="", routing_key=new.queue
        )


def headers_of(request: str | None) -> dict[str, Any]:
    """Those that a run was started with."""
    return decode(request or "{}").get("headers") or {}


def _headers(task: str, new: NewRun, said: Mapping[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """As those of a message of Celery's, second protocol."""
    id = said.get("id") or public("run", new.id)
    own = {
        "lang": "py", "task": task, "id": id, "shadow": said.get("shadow"), "eta": new.run_at and str(new.run_at),
        "expires": new.expires_at and str(new.expires_at), "group": said.get("group"),
        "group_index": said.get("group_index"), "retries": 0, "timelimit": [None, None],
        "root_id": said.get("root_id") or id, "parent_id": said.get("parent_id") or new.source_id,
        "argsrepr": repr(args)[:1024], "kwargsrepr": repr(kwargs)[:1024], "origin": "celeriac",
        "ignore_result": said.get("ignore_result", False), "replaced_task_nesting": 0,
        "stamped_headers": said.get("stamped_headers"), "stamps": said.get("stamps") or {},
    }  # fmt: skip
    return {**own, **(said.get("headers") or {})}


def _body(args: Any, kwargs: Any) -> Any:
    return (args or (), kwargs or {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})


def _request(task: str, said: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    return encode({**said, "headers": dict(headers)}, f"the headers of a call of {task!r}")


def _handed_on(task: str, hooks: str | None, headers: Mapping[str, Any]) -> str | None:
    """The links of a run, with these headers: in Celery its worker would publish them, in the same context."""
    if hooks is None or not headers:
        return hooks
    told = json.loads(hooks)
    for option in LINKS:
        told |= {option: [_with(task, link, headers) for link in told[option]]} if told.get(option) else {}
    return json.dumps(told)


def _with(task: str, link: Mapping[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
    said = decode(json.dumps(link.get("request") or {}))
    request = json.loads(_request(task, said, {**headers, **(said.get("headers") or {})}))
    hooks = _handed_on(task, json.dumps(link["hooks"]) if link.get("hooks") else None, headers)
    return {**link, "request": request, "hooks": json.loads(hooks or "null")}
