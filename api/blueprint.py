"""The API and the page as a part of a Flask application that has a login of its own."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

from ..workflows import Celeriac
from .access.logins import HOSTS_PERSON
from .access.people import person
from .app import made

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


def create_blueprint(
    durable: Celeriac,
    login: Callable[[], tuple[str, str] | None],
    *,
    login_url: str | None = None,
    name: str = "celeriac",
) -> Blueprint:
    """All of `create_app(durable)` below the `url_prefix` with which this is registered:
    `app.register_blueprint(create_blueprint(durable, login=who), url_prefix="/ops")`.

    - login: called for each request, in the request of the host. It returns the name of who asks and their role
      ("viewer", "operator" or "admin"), or None for nobody. The setting `login` means nothing then; keys are keys.
    - login_url: where a browser of nobody is sent to, with `?next=` and where it wanted to go. Default: it is told 401.
    - name: of the blueprint, where an application has two.

    It is an application of its own behind one view, so it has its own answers for errors and its own headers, and what
    the host does before and after each request is done here, too. Raises UsageError where a setting is missing.
    """
    inner = made(durable, is_hosted=True, login_url=login_url)
    blueprint = Blueprint(name, __name__)

    def pass_on(path: str = "", **_: Any) -> Response:
        who = login()
        if who is not None:
            person(*who)  # a role that there is not is a fault of the host, and its log should say so
        return Response.from_app(inner.wsgi_app, _below(request.environ, path, who))

    for rule, endpoint in (("/", "root"), ("/<path:path>", "all")):
        blueprint.add_url_rule(rule, endpoint, pass_on, methods=METHODS, provide_automatic_options=False)
    return blueprint


def _below(environ: dict[str, Any], path: str, who: tuple[str, str] | None) -> dict[str, Any]:
    """The request as one of the application within, whose root is where `path` begins."""
    inner = "/" + path.encode().decode("latin-1")  # as WSGI has what is not ASCII
    prefix = str(environ["PATH_INFO"]).removesuffix(inner)
    return {
        **environ,
        HOSTS_PERSON: who,
        "SCRIPT_NAME": str(environ.get("SCRIPT_NAME", "")).rstrip("/") + prefix,
        "PATH_INFO": inner,
    }
