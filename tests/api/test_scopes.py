"""What each view needs, and that who has it not is refused: a walk over every address of the application."""

from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.api.scopes import ANY_KEY, PUBLIC, SCOPES

OPEN = {
    "static",
    "health.live",
    "health.ready",
    "hooks.ask",
    "hooks.receive",
    "callbacks.complete",
}


def test_every_view_says_what_it_needs(durable: Celeriac) -> None:
    app: Flask = create_app(durable)
    views = {name: getattr(view, "scope", None) for name, view in app.view_functions.items()}
    assert [] == [name for name, scope in views.items() if scope not in (*SCOPES, PUBLIC, ANY_KEY)]
    assert OPEN == {name for name, scope in views.items() if scope == PUBLIC}


def test_a_view_that_says_nothing_refuses_everybody(make_durable: Callable[..., Celeriac]) -> None:
    app: Flask = create_app(make_durable())
    app.add_url_rule("/api/v1/forgotten", "forgotten", lambda: "secret")
    client: FlaskClient = app.test_client()
    answer = client.get("/api/v1/forgotten")
    assert 403 == answer.status_code
    assert "urn:celeriac:problem:no-scope" == answer.get_json()["type"]
