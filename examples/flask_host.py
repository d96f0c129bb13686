"""A shop with a login of its own, and Celeriac's page as a part of it: below /ops, for those whom the shop lets in.

    celeriac -A flask_host dev             # in one terminal: worker, beat, servers
    export CELERIAC_DATABASE_URL=... CELERY_BROKER_URL=...    # in another: database_url and redis_url of dev.json
    flask --app flask_host run             # http://localhost:5000

The shop's login is the only one: `who` says who asks and what their role is. The API, webhooks and streams are below
/ops as well; programs send their keys there.
"""

import os

from celery import Celery
from flask import Flask, redirect, request, session
from flask.typing import ResponseReturnValue

from celeriac import Celeriac, step, workflow
from celeriac.api import create_blueprint

app = Celery("flask_host")
durable = Celeriac(app)

ROLES = {"ada": "admin", "otto": "operator", "vera": "viewer"}  # of the staff; customers have none


@step
def pack(order_id: str) -> str:
    return f"box-{order_id}"


@workflow(name="ship-order")
def ship_order(order_id: str) -> str:
    return pack(order_id)


def who() -> tuple[str, str] | None:
    """Who is logged in at the shop, and their role; None for customers and strangers."""
    name = session.get("name", "")
    return (name, ROLES[name]) if name in ROLES else None


def create_app() -> Flask:
    """The shop."""
    shop = Flask(__name__)
    shop.secret_key = os.environ.get("SHOP_SECRET", "not a secret: for this example only")
    shop.register_blueprint(create_blueprint(durable, who, login_url="/login"), url_prefix="/ops")

    @shop.get("/")
    def home() -> str:
        return f"The shop. You are {'one of us' if who() else 'a customer'}."

    @shop.get("/login")
    def ask_name() -> str:
        return '<form method="post"><input name="name" aria-label="Name"><button>Log in</button></form>'

    @shop.post("/login")
    def log_in() -> ResponseReturnValue:
        session["name"] = request.form["name"]  # the login of an example: it believes everybody
        return redirect("/ops/")

    return shop
