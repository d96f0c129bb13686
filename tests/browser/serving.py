"""The page of the scene's shop, served on a port of this machine for a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from celery import Celery
from flask import Flask
from scene import Scene, hooked, set_up
from werkzeug.serving import WSGIRequestHandler, make_server

from celeriac import Celeriac
from celeriac.api import create_app


@dataclass(frozen=True)
class Site:
    url: str
    scene: Scene
    durable: Celeriac


class Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """A request is no news."""


class Noticing:
    """Shows the application the socket, as gunicorn does: so a stream ends when its page is left."""

    def __init__(self, app: Any):
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["gunicorn.socket"] = environ["werkzeug.socket"]
        return self._app(environ, start_response)


@contextmanager
def serving(database_url: str, redis_url: str, port: int = 0, *, strange: bool = True) -> Iterator[Site]:
    """Serves the page of a migrated database, which is filled; `strange`: also with what nobody should write."""
    app = Celery("shop", broker=redis_url)
    app.conf.update({"celeriac_database_url": database_url, "celeriac_redis_url": redis_url})
    app.conf.update({"celeriac_secret_key": "what encrypts addresses", "celeriac_environment": "production"})
    durable = hooked(Celeriac(app))
    wsgi = create_app(durable)
    scene = set_up(durable, wsgi, strange)
    with _served(wsgi, port) as url:
        yield Site(url, scene, durable)
    durable.close()


@contextmanager
def serving_also(site: Site, **settings: object) -> Iterator[Site]:
    """Serves the same shop once more, by other settings."""
    app = Celery("shop", broker=site.durable.app.conf.broker_url)
    given = {name: site.durable.app.conf[name] for name in ("celeriac_database_url", "celeriac_redis_url")}
    app.conf.update(given | settings)
    durable = hooked(Celeriac(app))
    with _served(create_app(durable), 0) as url:
        yield Site(url, site.scene, durable)
    durable.close()


@contextmanager
def _served(wsgi: Flask, port: int) -> Iterator[str]:
    server = make_server("127.0.0.1", port, Noticing(wsgi), threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
