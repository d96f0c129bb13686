"""What Celery's own integration tests ask of tasks, asked of durable ones. docs/celery.md lists those that are not
asked here, and why."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from celery import group, states
from celery.exceptions import TimeoutError

FORKS = """
import json, os, sys
import tasks_shop
tasks_shop.app.conf.update(json.loads(sys.argv[1]))
tasks_shop.app.finalize()
tasks_shop.add.delay(1, 1).get(timeout=20)  # the connections of the parent are open
if (child := os.fork()) == 0:
    print(tasks_shop.add.delay(20, 3).get(timeout=20), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(tasks_shop.add.delay(1, 1).get(timeout=20))  # and still its own
"""


def test_many_threads_of_a_producer_send_at_once(tasks):
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: tasks.add.delay(n, n), range(40)))
    assert [2 * n for n in range(40)] == [result.get(timeout=20) for result in results]


def test_a_process_that_a_producer_forked_sends_by_itself(tasks):
    conf = ("broker_url", "result_backend", "celeriac_database_url", "celeriac_redis_url")
    told = json.dumps({name: tasks.app.conf[name] for name in conf})
    environ = os.environ | {"JOURNAL": str(tasks.JOURNAL), "GATES": str(tasks.GATES)}
    command = [sys.executable, "-c", FORKS, told]
    run = partial(subprocess.run, check=False, capture_output=True, text=True, timeout=60)
    done = run(command, cwd=Path(__file__).parent, env=environ)
    assert ["23", "2"] == done.stdout.split(), done.stderr


def test_waiting_takes_no_longer_than_it_may_and_the_task_goes_on(shop, tasks):
    result = tasks.held.delay("patience")
    with pytest.raises(TimeoutError):
        result.get(timeout=0.1)
    shop.open_gates("patience")
    assert "patience" == result.get(timeout=20)


def test_an_eta_that_is_past_starts_it_now(tasks):
    assert 1 == tasks.add.apply_async((1,), eta=datetime.now(UTC) - timedelta(hours=1)).get(timeout=20)


def test_text_is_text_in_any_language(tasks):
    words = "åäö 你好 مرحبا 🥬"
    assert [[words], {"naïve": words}] == tasks.echo.delay(words, naïve=words).get(timeout=20)


def test_large_arguments_arrive(tasks):
    assert 100_000 == len(tasks.echo.delay("x" * 100_000).get(timeout=20)[0][0])


def test_an_exception_that_cannot_be_made_again_is_told(tasks):
    result = tasks.fails_oddly.delay()
    error = result.get(timeout=20, propagate=False)
    assert (states.FAILURE, True) == (result.state, "Odd" in str(error))


def test_an_exception_keeps_its_cause_in_the_traceback(tasks):
    result = tasks.fails_because.delay()
    result.get(timeout=20, propagate=False)
    assert "KeyError: 'the cause'" in result.traceback


def test_a_retry_keeps_headers_shadow_priority_and_queue(tasks):
    told = tasks.retries_once.apply_async(
        headers={"tenant": "acme"}, shadow="named", priority=3, queue="special", expires=600
    )
    assert ["acme", "named", "special", 1, True] == told.get(timeout=20)
    assert -3 * 3600 == told.run.refresh().row.priority


def test_while_it_waits_for_its_retry_its_state_says_so_and_why(tasks, wait_until):
    result = tasks.retries_late.delay()
    wait_until(lambda: result.state == states.RETRY)
    assert ConnectionError is type(result.info)
    result.revoke()


def test_the_limits_of_a_task_must_fit_each_other(tasks):
    with pytest.raises(ValueError, match="soft_time_limit must be less"):
        tasks.limits_that_do_not_fit.delay()


def test_parents_and_roots_are_known_to_what_they_start(tasks):
    result = tasks.parent_of_requests.delay()
    own, child_id = result.get(timeout=20)
    told = tasks.request.AsyncResult(child_id).get(timeout=20)
    assert [result.id, result.id] == [told["root_id"], told["parent_id"]]
    assert result.id == own
    assert [child_id] == [child.id for child in result.children]


def test_results_are_collected_with_those_of_their_children(tasks):
    result = tasks.parent_of_requests.delay()
    child_id = result.get(timeout=20)[1]
    tasks.request.AsyncResult(child_id).get(timeout=20)
    assert [result.id, child_id] == [each.id for each, _ in result.collect(intermediate=True)]


def test_a_group_is_joined_in_its_order_and_propagates_what_failed(tasks):
    assert [1, 2, 3] == group(tasks.add.s(n) for n in (1, 2, 3))().get(timeout=20)
    results = group(tasks.add.s(1), tasks.fail.s("in a group"))()
    with pytest.raises(ValueError, match="in a group"):
        results.get(timeout=20)
    assert (True, False) == (results.ready(), results.successful())


def test_then_is_called_with_the_result(tasks):
    heard = threading.Event()
    result = tasks.add.delay(1, 2)
    result.then(lambda each: heard.set())
    assert 3 == result.get(timeout=20)
    assert heard.is_set()


def test_a_result_is_asked_for_as_often_as_one_likes(tasks):
    result = tasks.add.delay(1, 2)
    assert [3, 3] == [result.get(timeout=20) for _ in range(2)]
    result.forget()
    assert (True, True, False, 3) == (result.ready(), result.successful(), result.failed(), result.result)


def test_what_a_result_tells_beside_its_value(tasks):
    result = tasks.add.delay(1, y=2)
    result.get(timeout=20)
    assert ("tasks_shop.add", [1], {"y": 2}, 0, "celery") == (
        result.name, result.args, result.kwargs, result.retries, result.queue,
    )  # fmt: skip
    assert result.date_done is not None
