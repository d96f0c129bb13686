"""A Flask app with Flask-SQLAlchemy whose orders are fulfilled by durable runs.

    celeriac -A flask_shop dev              # prints the URL of its Postgres; with one of your own it uses that
    flask --app flask_shop run
    curl -X POST localhost:5000/orders -H 'Content-Type: application/json' -d '{"customer": "ada"}'

The order and its run are one transaction: `session=db.session`. Steps need the app's context, as Celery's tasks do, and
get it from a decorator below `@step`.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from celery import Celery
from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from celeriac import Celeriac, Retry, step, workflow

P = ParamSpec("P")
R = TypeVar("R")

app = Celery("flask_shop")
durable = Celeriac(app)

shop = Flask("flask_shop")
url = os.environ.get("CELERIAC_DATABASE_URL", "postgresql://localhost/shop")
shop.config["SQLALCHEMY_DATABASE_URI"] = url.replace("postgresql://", "postgresql+psycopg2://")
db = SQLAlchemy(shop)


class Order(db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    status: Mapped[str] = mapped_column(default="placed")


def in_app_context(function: Callable[P, R]) -> Callable[P, R]:
    """What the body does happens in a context of the Flask app; its session is given back at the end."""

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        with shop.app_context():
            return function(*args, **kwargs)

    return within


@step(retry=Retry(max_attempts=5))
def charge(order_id: int) -> str:
    """The outside world: a real provider gets the order's id as its idempotency key, for this may run twice."""
    return f"receipt-{order_id}"


@step
@in_app_context
def mark(order_id: int, status: str) -> None:
    db.session.get_one(Order, order_id).status = status
    db.session.commit()


@workflow(name="fulfil-order")
def fulfil_order(order_id: int) -> str:
    receipt = charge(order_id)
    mark(order_id, "paid")
    return receipt


@shop.post("/orders")
def place_order() -> tuple[dict[str, Any], int]:
    order = Order(customer=request.get_json()["customer"])
    db.session.add(order)
    db.session.flush()  # the order gets its id
    run = fulfil_order.apply_async((order.id,), session=db.session)
    if not order.customer:
        db.session.rollback()
        return {"error": "an order needs a customer"}, 422
    db.session.commit()  # both are there, or neither is
    return {"order": order.id, "run": run.id}, 202


@shop.get("/orders/<int:order_id>")
def show_order(order_id: int) -> dict[str, Any]:
    return {"order": order_id, "status": db.get_or_404(Order, order_id).status}


def create_tables() -> None:
    with shop.app_context():
        db.create_all()
