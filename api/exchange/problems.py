"""Every error as an answer: RFC 9457 problem+json for programs, a page for people. No answer shows a stack trace.

Problem               raised by this package, with status and detail
CeleriacError         the tree of `celeriac.workflows.errors`, by the table below
HTTPException         what Flask raises itself: 404, 405, a client that hung up
anything else         500, logged with the request's id
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from ...workflows.errors import (
    AlertConflict,
    BrokerUnavailable,
    CeleriacError,
    IdempotencyConflict,
    KeyFull,
    NotSerializable,
    PayloadInvalid,
    QueueDraining,
    QueueFull,
    RevisionConflict,
    ScheduleConflict,
    StateUnavailable,
    SubscriptionConflict,
    Superseded,
    TooLarge,
    UnknownAlert,
    UnknownQueue,
    UnknownSchedule,
    UnknownSubscription,
    UnknownWorker,
    UnknownWorkflow,
    UsageError,
    WorkerRefused,
    WorkerSilent,
)

log = logging.getLogger(__name__)

Fault = Mapping[str, str]  # {"pointer": RFC 6901, into the request's body, "detail": ...}

PROGRAMS = ("/api", "/hooks", "/callbacks", "/livez", "/readyz", "/metrics")  # below these an error is JSON
SECRET = "/callbacks"
TYPE = "urn:celeriac:problem:"

KINDS: tuple[tuple[type[CeleriacError], int, str], ...] = (  # the first that fits
    (TooLarge, 413, "too-large"),
    (NotSerializable, 422, "not-serializable"),
    (PayloadInvalid, 422, "payload-invalid"),
    (UnknownWorkflow, 404, "unknown-workflow"),
    (UnknownQueue, 404, "unknown-queue"),
    (UnknownSchedule, 404, "unknown-schedule"),
    (UnknownSubscription, 404, "unknown-subscription"),
    (UnknownAlert, 404, "unknown-alert"),
    (UnknownWorker, 404, "unknown-worker"),
    (UsageError, 400, "usage"),
    (QueueFull, 429, "queue-full"),
    (QueueDraining, 409, "queue-draining"),
    (KeyFull, 409, "key-full"),
    (IdempotencyConflict, 409, "idempotency-conflict"),
    (Superseded, 409, "superseded"),
    (ScheduleConflict, 409, "schedule-conflict"),
    (SubscriptionConflict, 409, "subscription-conflict"),
    (AlertConflict, 409, "alert-conflict"),
    (WorkerRefused, 409, "worker-refused"),
    (WorkerSilent, 504, "worker-silent"),
    (BrokerUnavailable, 503, "broker-unavailable"),
    (RevisionConflict, 412, "revision-conflict"),
    (StateUnavailable, 503, "state-unavailable"),
)


class Problem(Exception):
    """An error as a client sees it. `kind` is the last word of its type; `members` are more members of the document."""

    def __init__(
        self,
        status: int,
        detail: str,
        kind: str | None = None,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ):
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind
        self.errors, self.headers, self.members = list(errors), dict(headers or {}), members

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase

    def document(self) -> dict[str, Any]:
        document = {
            "type": TYPE + self.kind if self.kind else "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": g.get("request_id"),
            **self.members,
        }
        return document | ({"errors": self.errors} if self.errors else {})


def install(app: Flask) -> None:
    """Makes `app` answer every error this way."""
    app.register_error_handler(Exception, _answer)


def problem_of(error: Exception) -> Problem:
    """The problem that an exception is to a client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, CeleriacError):
        return _of_ours(error)
    if isinstance(error, HTTPException) and error.code is not None:
        headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
        return Problem(error.code, error.description or "", headers=headers)
    return _internal(error)


def _answer(error: Exception) -> ResponseReturnValue:
    if isinstance(error, RequestRedirect):
        return error.get_response()
    problem = problem_of(error)
    if problem.status == 503:
        log.warning("%s %s: 503: %s", request.method, _place(), error)
    if request.path.startswith(PROGRAMS):
        text = json.dumps(problem.document(), ensure_ascii=False) + "\n"
        response = Response(text, problem.status, mimetype="application/problem+json")
    else:
        response = Response(render_template("problem.html", problem=problem), problem.status)
    response.headers.update(problem.headers)
    return response


def _of_ours(error: CeleriacError) -> Problem:
    known = next(((status, name) for kind, status, name in KINDS if isinstance(error, kind)), None)
    if known is None:
        return _internal(error)
    status, name = known
    if isinstance(error, StateUnavailable):
        # The rest of the message names hosts and users: it is for the log.
        detail = f"{str(error).partition(':')[0]}. Nothing was acknowledged: try again in a moment."
        return Problem(status, detail, name, headers={"Retry-After": "1"})
    if isinstance(error, BrokerUnavailable):  # what follows may name hosts, too
        return Problem(status, f"{str(error).partition(':')[0]}.", name, headers={"Retry-After": "1"})
    headers = {"Retry-After": "1"} if isinstance(error, QueueFull) else {}
    if isinstance(error, RevisionConflict):
        headers = {"ETag": f'"{error.revision}"'}  # as If-Match takes it, see etag.py
    return Problem(status, str(error), name, errors=faults_of(error, "/payload"), headers=headers)


def faults_of(error: CeleriacError, base: str) -> list[Fault]:
    """What is wrong where, with pointers into the request's body, in which the payload stands at `base`."""
    if isinstance(error, PayloadInvalid):
        return [{"pointer": base + fault["pointer"], "detail": fault["detail"]} for fault in error.faults]
    if isinstance(error, NotSerializable):
        return [{"pointer": base, "detail": f"{error.fault} at {error.path}"}]
    return []


def _internal(error: Exception) -> Problem:
    log.error("%s %s failed (%s)", request.method, _place(), g.get("request_id"), exc_info=error)
    return Problem(500, f"This is a fault of the server. Its log has the details, under {g.get('request_id')}.")


def _place() -> str:
    """What was asked for, as a log may name it: the address of a callback is a secret."""
    return str(request.url_rule) if request.path.startswith(SECRET) else request.path
