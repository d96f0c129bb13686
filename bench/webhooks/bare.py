"""What it is measured against: a Flask route that inserts one row, on a connection that its thread keeps."""

import os
import threading

import psycopg2
from flask import Flask, request
from gunicorn.app.base import BaseApplication

from celeriac.deploy.server import ApiServer

held = threading.local()


def connection() -> "psycopg2.extensions.connection":
    if not hasattr(held, "connection"):
        held.connection = psycopg2.connect(os.environ["CELERIAC_DATABASE_URL"])
        held.connection.autocommit = True
    return held.connection


def make() -> Flask:
    app = Flask(__name__)

    @app.post("/hooks/bare")
    def bare() -> tuple[str, int]:
        with connection().cursor() as cursor:
            cursor.execute("insert into bare (body) values (%s)", (request.get_data(),))
        return "", 202

    return app


class BareServer(ApiServer):
    """The same gunicorn, with the same settings."""

    def __init__(self, bind: str):
        super().__init__(None, bind)  # type: ignore[arg-type]

    def load(self) -> Flask:
        return make()


if __name__ == "__main__":
    assert issubclass(BareServer, BaseApplication)
    BareServer(os.environ["BARE_BIND"]).run()
