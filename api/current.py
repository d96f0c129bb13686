"""What a request belongs to: the Celeriac that its application serves."""

from typing import Any

from flask import Flask, current_app

from ..state.database import Database
from ..workflows import Celeriac
from .access.logins import EXTENSION, Login
from .hooks.inbox import Inbox
from .rest.feed import Feed

KEY = "celeriac"
INBOX = "celeriac-inbox"
FEED = "celeriac-feed"


def bind(app: Flask, durable: Celeriac) -> None:
    app.extensions[KEY] = durable
    app.extensions[INBOX] = Inbox(durable)
    app.extensions[FEED] = Feed(durable)


def durable() -> Celeriac:
    served: Celeriac = current_app.extensions[KEY]
    return served


def database() -> Database:
    return durable().database


def inbox() -> Inbox:
    found: Inbox = current_app.extensions[INBOX]
    return found


def feed() -> Feed:
    found: Feed = current_app.extensions[FEED]
    return found


def login() -> Login:
    """How people come in."""
    found: Login = current_app.extensions[EXTENSION]
    return found


def end_streams(application: Any) -> None:
    """Ends the streams of an application whose process is to stop. Safe in a signal handler."""
    application.extensions[FEED].stop()
