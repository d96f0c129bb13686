"""The pages of the workers: those that are alive, what Celery's workers answer when they are asked, what people have
them do, and the lists of the broker. Asking takes up to a second, so it comes after the first paint."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from ...workflows.errors import BrokerUnavailable, UnknownWorker, UsageError, WorkerRefused, WorkerSilent
from ...workflows.operate.workers import SIGNALS
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.problems import Problem
from ..rest.catalogue import live_workers
from ..rest.workers import broker_lists, node, whole_node
from .page import render

blueprint = Blueprint("worker_page", __name__, url_prefix="/workers")

Form = Mapping[str, str]


@blueprint.get("")
@needs("workers:read")
def index() -> ResponseReturnValue:
    """Those that are alive; `?asked=1`: with what all answer, for a browser without scripts."""
    answers = _answers() if request.args.get("asked") else None
    return render("workers.html", database().now(), workers=live_workers(), answers=answers, purged=_purged())


@blueprint.get("/answers")
@needs("workers:read")
def answers() -> ResponseReturnValue:
    """What all answer now, as a part of that page."""
    return render_template("workers_now.html", **_answers())


@blueprint.get("/<name>")
@needs("workers:read")
def show(name: str) -> ResponseReturnValue:
    """One worker; `?asked=1`: with what it answers, for a browser without scripts."""
    return _page(name, _answer(name) if request.args.get("asked") else None)


@blueprint.get("/<name>/answer")
@needs("workers:read")
def answer(name: str) -> ResponseReturnValue:
    """What it answers now, as a part of its page."""
    return render_template("worker_now.html", name=name, **_answer(name))


@blueprint.post("/<name>/<order>")
@needs("workers:write")
def give(name: str, order: str) -> ResponseReturnValue:
    """Has it do something. What it does not do is said on its page."""
    if order not in ORDERS:
        raise Problem(404, "a worker knows no such order")
    try:
        ORDERS[order](name, request.form)
    except UnknownWorker:
        raise
    except (UsageError, WorkerRefused, WorkerSilent) as error:
        status = 422 if isinstance(error, UsageError) else 409
        return _page(name, None, fault=str(error), entered=request.form), status
    if order == "shutdown":
        return redirect(url_for("worker_page.index", notice="worker-shutdown"), 303)
    return redirect(url_for("worker_page.show", name=name, notice=f"worker-{order}"), 303)


@blueprint.get("/broker/<path:name>/purge")
@needs("workers:write")
def ask_to_purge(name: str) -> ResponseReturnValue:
    """How many messages that would drop."""
    known = {each.name: each for each in durable().broker.lists().lists}
    if name not in known:
        raise Problem(404, f"the broker has no list named {name[:100]!r} that this app knows")
    return render("purge.html", database().now(), list=known[name])


@blueprint.post("/broker/<path:name>/purge")
@needs("workers:write")
def purge(name: str) -> ResponseReturnValue:
    return redirect(url_for("worker_page.index", purged=durable().broker.purge(name)), 303)


def _page(name: str, answered: Mapping[str, Any] | None, **values: Any) -> str:
    known = next((each for each in live_workers() if each["name"] == name), None)
    return render(
        "worker.html", database().now(), name=name, worker=known, answered=answered, signals=SIGNALS, **values
    )


def _answers() -> dict[str, Any]:
    """What all workers and the broker say, or why not."""
    try:
        nodes = durable().remote_workers.all()
        return {"nodes": [node(each) for each in nodes], "broker": broker_lists(durable().broker.lists(nodes))}
    except BrokerUnavailable as error:
        return {"silence": str(error).partition(":")[0]}


def _answer(name: str) -> dict[str, Any]:
    """What one says, or why not."""
    try:
        return {"node": whole_node(durable().remote_workers.one(name))}
    except (UnknownWorker, WorkerSilent) as error:
        return {"silence": str(error)}
    except BrokerUnavailable as error:
        return {"silence": str(error).partition(":")[0]}


def _purged() -> int | None:
    told = request.args.get("purged", "")
    return int(told[:12]) if told.isascii() and told.isdigit() else None


def _number(form: Form, member: str) -> Any:
    """A whole number, or what was typed instead, which is refused with its name."""
    text = form.get(member, "").strip()
    return int(text[:9]) if text.isascii() and text.isdigit() else text


def _seconds(form: Form, member: str) -> float | None:
    text = form.get(member, "").strip()
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = -1.0
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise UsageError(f"{member}: {text[:50]!r} is no number of seconds")
    return seconds


def _text(form: Form, member: str) -> str:
    return form.get(member, "").strip()


def _plain(verb: str) -> Callable[[str, Form], str]:
    return lambda name, form: getattr(durable().remote_workers, verb)(name)


ORDERS: dict[str, Callable[[str, Form], str]] = {
    "shutdown": _plain("shut_down"),
    "restart-pool": _plain("restart_pool"),
    "drain": _plain("drain"),
    "resume": _plain("resume"),
    "grow": lambda name, form: durable().remote_workers.grow(name, _number(form, "processes")),
    "shrink": lambda name, form: durable().remote_workers.shrink(name, _number(form, "processes")),
    "autoscale": lambda name, form: durable().remote_workers.autoscale(
        name, _number(form, "least"), _number(form, "most")
    ),
    "add-consumer": lambda name, form: durable().remote_workers.add_consumer(name, _text(form, "queue")),
    "cancel-consumer": lambda name, form: durable().remote_workers.cancel_consumer(name, _text(form, "queue")),
    "rate-limit": lambda name, form: durable().remote_workers.rate_limit(
        name, _text(form, "task"), _text(form, "rate")
    ),
    "time-limit": lambda name, form: durable().remote_workers.time_limit(
        name, _text(form, "task"), _seconds(form, "soft"), _seconds(form, "hard")
    ),
    "revoke": lambda name, form: durable().remote_workers.revoke(
        name, _text(form, "task_id"), terminate="terminate" in form, signal=_text(form, "signal") or SIGNALS[0]
    ),
}
