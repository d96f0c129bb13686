"""What a request belongs to: the Celeriac that its application serves."""

from flask import Flask, current_app

from ..state.database import Database
from ..workflows import Celeriac

KEY = "celeriac"


def bind(app: Flask, durable: Celeriac) -> None:
    app.extensions[KEY] = durable


def durable() -> Celeriac:
    served: Celeriac = current_app.extensions[KEY]
    return served


def database() -> Database:
    return durable().database
