"""The Flask application: which blueprints it has, and what every answer carries."""

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider

from ..state.ids import new_id, public
from ..workflows import Celeriac
from ..workflows.outbound.address_guard import Guard
from .access import cors, guard, limits, logins, proxies
from .current import bind
from .exchange import continuing, idempotency, problems
from .hooks.hooks import blueprint as hooks
from .page.alerts import blueprint as alert_page
from .page.bulk import blueprint as bulk_page
from .page.diff import blueprint as diff_page
from .page.errors import blueprint as error_page
from .page.events import blueprint as event_page
from .page.login import blueprint as login_page
from .page.logs import blueprint as log_page
from .page.moves import blueprint as run_page
from .page.page import blueprint as page
from .page.queues import blueprint as queue_page
from .page.runs import blueprint as runs_page
from .page.schedules import blueprint as schedule_page
from .page.settings import blueprint as settings_page
from .page.subscriptions import blueprint as subscription_page
from .page.webhooks import blueprint as webhook_page
from .page.workers import blueprint as worker_page
from .page.workflows import blueprint as workflow_page
from .reference.openapi import blueprint as openapi
from .reference.page import blueprint as reference_page
from .rest import audit
from .rest.alerts import blueprint as alerts
from .rest.batch import blueprint as batch
from .rest.bulk import blueprint as bulk
from .rest.callbacks import blueprint as callbacks
from .rest.catalogue import blueprint as catalogue
from .rest.deliveries import blueprint as deliveries
from .rest.endpoints import blueprint as endpoints
from .rest.errors import blueprint as errors
from .rest.health import blueprint as health
from .rest.keys import blueprint as keys
from .rest.logs import blueprint as logs
from .rest.metrics import blueprint as metrics
from .rest.moves import blueprint as moves
from .rest.quarantine import blueprint as quarantine
from .rest.queues import blueprint as queues
from .rest.runs import blueprint as runs
from .rest.schedules import blueprint as schedules
from .rest.signals import blueprint as signals
from .rest.stream import blueprint as stream
from .rest.subscriptions import blueprint as subscriptions
from .rest.traces import blueprint as traces
from .rest.workers import blueprint as workers

PROGRAMS = (  # what answers programs
    runs,
    batch,
    moves,
    bulk,
    signals,
    queues,
    schedules,
    catalogue,
    workers,
    hooks,
    endpoints,
    deliveries,
    quarantine,
    callbacks,
    subscriptions,
    health,
    logs,
    stream,
    traces,
    metrics,
    errors,
    alerts,
    keys,
    audit.blueprint,
    openapi,
)
PAGES = (
    page,
    runs_page,
    run_page,
    diff_page,
    workflow_page,
    bulk_page,
    queue_page,
    schedule_page,
    webhook_page,
    subscription_page,
    worker_page,
    error_page,
    alert_page,
    event_page,
    log_page,
    login_page,
    settings_page,
    reference_page,
)

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Json(DefaultJSONProvider):
    """A run's payload keeps the order of its members, and its own alphabet."""

    sort_keys = False
    ensure_ascii = False


def create_app(durable: Celeriac) -> Flask:
    """The API and the page of one Celeriac, as a WSGI application. It connects when the first request needs it.

    Raises UsageError where a setting that it needs is missing, or contradicts another: a fault of the server, which
    must not be told to its clients.
    """
    return made(durable)


def made(durable: Celeriac, *, is_hosted: bool = False, login_url: str | None = None) -> Flask:
    """The same. `is_hosted`: the application around it says who people are (`blueprint.py`), and sends those whom it
    does not know to `login_url`."""
    durable.settings.need("database_url")
    assert durable.dispatcher, "needs the URL of Redis"
    Guard.of(durable.settings)
    for endpoint in durable.endpoints.values():
        if endpoint.spool:
            durable.settings.need("spool_dir")
    app = Flask(__name__)
    app.json = Json(app)
    app.url_map.strict_slashes = False
    bind(app, durable)
    logins.install(app, durable, login_url, is_hosted)
    app.after_request(_place_below_prefix)
    app.before_request(_name_request)
    limits.install_load(app, durable.settings.api_threads)
    cors.install(app, durable.settings)
    guard.install(app)
    limits.install_rate(app, durable)
    audit.install(app)
    continuing.install(app)
    problems.install(app)
    for blueprint in (*PROGRAMS, *PAGES):
        app.register_blueprint(blueprint)
    idempotency.install(app)
    app.after_request(_secure)
    proxies.install(app, durable.settings)
    return app


def _name_request() -> None:
    g.request_id = public("req", new_id())


def _place_below_prefix(response: Response) -> Response:
    """What a document calls /api/v1/... is below the prefix that this application has in another, or behind a proxy."""
    location = response.headers.get("Location", "")
    if request.script_root and location.startswith("/api/"):
        response.headers["Location"] = request.script_root + location
    return response


def _secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
