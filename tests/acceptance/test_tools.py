"""The tools that Celery's people know, beside Celeriac: they answer, and break nothing."""

import json
import sys
from pathlib import Path

import pytest
from processes import Shop

HERE = Path(__file__).parent
ASKED = [
    ["status"],
    ["inspect", "ping"],
    ["inspect", "active"],
    ["inspect", "registered"],
    ["inspect", "stats"],
    ["inspect", "reserved"],
    ["control", "pool_grow", "1"],
    ["control", "enable_events"],
    ["control", "rate_limit", "long-way", "1000/m"],
]


@pytest.fixture
def make(durable, nursery, tmp_path):
    made = []

    def make(module):
        made.append(Shop(durable, nursery, HERE / module, tmp_path))
        return made[-1]

    yield make
    for shop in made:
        shop.end()
        print(shop.logs())


def celery(shop, *arguments):
    """What `celery -A <shop> ...` prints."""
    command = shop.run([sys.executable, "-m", "celery", "-A", shop._module.stem, *arguments])
    code = command.wait(40)
    return code, command.log.read_text()


def test_status_inspect_and_control_answer_and_runs_go_on(make):
    shop = make("life_shop.py")
    shop.worker()
    held = shop.durable.trigger("gated", {"n": 1})
    for words in ASKED:
        code, told = celery(shop, *words)
        assert (0, True) == (code, "w0@test" in told), (words, told)
    assert "long-way" in celery(shop, "inspect", "registered")[1]
    assert 0 == celery(shop, "report")[0]
    shop.open_gates(1)
    assert [0, 1, 2] == held.result(timeout=20)
    assert [[0, 1]] * 5 == [
        run.result(timeout=20) for run in shop.durable.start_many("long-way", [{"steps": 2}] * 5, {})
    ]


def test_purge_deletes_hints_and_no_run(make, wait_until):
    shop = make("life_shop.py")
    shop.beat()
    shop.worker(concurrency=1)
    started = [shop.durable.trigger("gated", {"n": 1}) for _ in range(4)]
    wait_until(lambda: any(line.endswith(" 1") for line in shop.lines()))
    code, told = celery(shop, "purge", "-f")
    assert (0, True) == (code, "Purged" in told or "No messages purged" in told)
    shop.open_gates(1)
    assert [[0, 1, 2]] * 4 == [run.result(timeout=40) for run in started]


def test_events_tell_of_each_run(make, wait_until):
    shop = make("life_shop.py")
    shop.worker("-E")
    events = shop.run([sys.executable, "-m", "celery", "-A", "life_shop", "events", "--dump"])
    run = None

    def is_told():
        nonlocal run  # until the monitor listens, what happens is not told to it
        run = shop.durable.trigger("long-way", {"steps": 1})
        assert [0] == run.result(timeout=20)
        return run.id in events.log.read_text()

    wait_until(is_told)
    wait_until(lambda: "task succeeded: long-way" in events.log.read_text())


def test_sentry_sees_what_fails_and_a_transaction_for_each_run(make, wait_until):
    shop = make("sentry_shop.py")
    shop.worker()
    started = shop.durable.start_many("greets", [{"n": n} for n in range(20)], {})
    assert list(range(20)) == [run.result(timeout=20) for run in started]
    shop.durable.trigger("pays").wait(20)
    assert 0 == celery(shop, "call", "plain")[0]

    def told():
        return [json.loads(line) for line in shop.lines()]

    wait_until(lambda: 2 == sum(event["type"] == "error" for event in told()))
    errors = {event["transaction"]: event["errors"] for event in told() if event["type"] == "error"}
    assert ["of a plain task"] == errors["plain"]
    assert "no such card" in errors["pays"]
    wait_until(lambda: 20 == sum((e["type"], e["transaction"]) == ("transaction", "greets") for e in told()))
