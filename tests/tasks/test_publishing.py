"""Celery's signals of what is published are sent for the call of a durable task, and its headers reach the task."""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from celery import chain, signals

from celeriac.workflows import registry


@contextmanager
def heard(signal, receive):
    signal.connect(receive)
    try:
        yield
    finally:
        signal.disconnect(receive)


@pytest.fixture
def request_id():
    """What libraries of request ids do: a receiver that adds a header."""

    def add(headers, **_):
        headers["x_request_id"] = "r1"

    with heard(signals.before_task_publish, add):
        yield "r1"


def test_a_header_that_a_receiver_adds_is_found_by_the_task_on_each_attempt(tasks, request_id):
    told = tasks.request.apply_async(headers={"tenant": "t1"}).get(timeout=20)
    assert ("t1", "r1") == (told["headers"]["tenant"], told["headers"]["x_request_id"])
    canvas = tasks.request.si() | tasks.noted.s("signal")
    assert "r1" == canvas().parent.get(timeout=20)["headers"]["x_request_id"]


def test_what_is_linked_gets_it_too(shop, tasks, wait_until, request_id):
    link = chain(tasks.request.si(), tasks.noted.s("sl1"))
    second = tasks.request.si()
    second.link(tasks.noted.s("sl2"))
    tasks.add.apply_async((1, 2), link=[link, second])
    for name in ("sl1", "sl2"):
        line = wait_until(lambda name=name: [line for line in shop.lines() if f"'{name}'" in line])[0]
        assert "'x_request_id': 'r1'" in line


def test_receivers_are_told_of_the_call_and_not_of_the_message_which_is_a_hint(tasks):
    told = []

    def before(sender, body, headers, routing_key, **_):
        told.append(("before", sender, body[0], body[1], headers["id"], routing_key))

    def after(sender, body, headers, **_):
        told.append(("after", sender, headers["id"], tasks.durable.get(headers["id"]) is not None))

    with heard(signals.before_task_publish, before), heard(signals.after_task_publish, after):
        result = tasks.add.delay(1, y=2)
        assert 3 == result.get(timeout=20)
    first = ("before", "tasks_shop.add", (1,), {"y": 2}, result.id, "celery")
    assert [first, ("after", "tasks_shop.add", result.id, True)] == told


def test_plain_tasks_are_told_of_as_ever(tasks):
    told = []

    def after(sender, **_):
        told.append(sender)

    with heard(signals.after_task_publish, after):
        tasks.plain.apply_async(("told", 1))
    assert ["tasks_shop.plain"] == told


def test_a_header_is_what_it_was(tasks):
    moment = datetime(2026, 1, 2, tzinfo=UTC)

    def add(headers, **_):
        headers["moment"] = moment

    with heard(signals.before_task_publish, add):
        assert moment == tasks.request.delay().get(timeout=20)["headers"]["moment"]


def test_a_replay_tells_nobody_again(shop, tasks):
    run = registry.get("tasks_shop.publishes").delay("once")
    assert 4 == run.result(timeout=30)
    assert ["published tasks_shop.add"] * 2 == [line for line in shop.lines() if line.startswith("published")]
