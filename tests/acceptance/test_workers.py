"""Celery workers, with Celeriac in them and without: asked, and steered by remote control as Flower does it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from contract import check_answer
from processes import Process, Shop, wait_until

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.deploy.commands.workers import command
from celeriac.state import runs
from celeriac.workflows.errors import BrokerUnavailable, UnknownQueue, UnknownWorker, UsageError, WorkerRefused
from celeriac.workflows.operate.remote import AT_ONCE
from celeriac.workflows.operate.workers import Node, Workers

PLAIN = Path(__file__).with_name("plain_shop.py")


@pytest.fixture
def remote(durable: Celeriac) -> Workers:
    return durable.remote_workers


@pytest.fixture
def plain(shop: Shop) -> Iterator[str]:
    """The name of a worker without Celeriac, of two processes; its tasks pass the gates of the shop."""
    command = [sys.executable, "-m", "celery", "-A", "plain_shop", "worker", "-c", "2", "-n", "plain@test"]
    process = shop.run([*command, "--autoscale", "4,2", "--without-gossip", "--without-mingle"])
    wait_until(lambda: "plain@test" in names(shop.durable))
    yield "plain@test"
    process.end()


def names(durable: Celeriac) -> list[str]:
    return [node.name for node in durable.remote_workers.all()]


def processes(node: Node) -> list[int]:
    return list(node.pool["processes"])


def consumed(node: Node) -> list[str]:
    return [queue["name"] for queue in node.queues]


def send(durable: Celeriac, *args: Any, **options: Any) -> str:
    """The id of a plain task that was sent."""
    return str(durable.app.send_task("plain.pass", args, **options).id)


def test_all_workers_tell_what_they_are(shop, remote, plain):
    worker = shop.worker(concurrency=3)
    durable, other = sorted(remote.all(), key=lambda node: not node.is_durable)
    assert ("w1@test", True, worker.pid, 3) == (
        durable.name, durable.is_durable, durable.stats["pid"], len(processes(durable)),
    )  # fmt: skip
    assert (plain, False, None) == (other.name, other.is_durable, other.load)
    assert 3 == len(durable.load)
    assert durable.memory_bytes > 10_000_000 < other.memory_bytes
    assert durable.version == other.version
    assert {"five-steps", "celeriac.outbound"} <= set(remote.one("w1@test").more["registered"])
    assert ["plain.pass"] == remote.one(plain).more["registered"]


def test_a_pool_grows_and_shrinks_by_processes_that_are_there(shop, remote):
    shop.worker(concurrency=2)
    before = processes(remote.one("w0@test"))
    remote.grow("w0@test", 2)
    after = wait_until(lambda: (now := processes(remote.one("w0@test"))) and len(now) == 4 and now)
    assert set(before) < set(after)
    for pid in after:
        assert Path(f"/proc/{pid}").exists()
    remote.shrink("w0@test", 3)
    wait_until(lambda: 1 == len(processes(remote.one("w0@test"))))
    shop.durable.trigger("five-steps")
    shop.open_gates(1, 2, 3, 4, 5)
    wait_until(lambda: [1, 2, 3, 4, 5] == shop.steps())


def test_a_pool_restarts_and_scales_only_where_the_worker_allows_it(shop, remote, plain, durable):
    shop.worker()
    wait_until(lambda: "w1@test" in {node.name for node in remote.all()})
    for order in (lambda: remote.restart_pool("w1@test"), lambda: remote.autoscale("w1@test", 1, 2)):
        with pytest.raises(WorkerRefused, match="not enabled"):
            order()
    remote.autoscale(plain, 1, 3)
    assert (1, 3) == tuple(remote.one(plain).stats["autoscaler"][each] for each in ("min", "max"))
    before = processes(remote.one(plain))
    remote.restart_pool(plain)
    shop.open_gates("x")
    for _ in before:  # Celery ends a process when it would take its next task
        send(durable, "x", queue="plain")
    wait_until(lambda: (now := processes(remote.one(plain))) and not set(now) & set(before))


def test_a_worker_consumes_a_list_and_no_more(shop, remote, plain, durable):
    remote.add_consumer(plain, "late")
    wait_until(lambda: {"plain", "late"} == set(consumed(remote.one(plain))))
    send(durable, "a", queue="late")
    shop.open_gates("a")
    wait_until(lambda: ["begin a", "end a"] == shop.lines())
    remote.cancel_consumer(plain, "late")
    wait_until(lambda: ["plain"] == consumed(remote.one(plain)))
    send(durable, "b", queue="late")
    assert {"late": 1} == {each.name: each.messages for each in durable.broker.lists().lists if each.name == "late"}


def test_tasks_that_a_worker_has_are_seen_without_secrets_and_revoked(shop, remote, plain, durable):
    remote.autoscale(plain, 1, 1)
    wait_until(lambda: 1 == len(processes(remote.one(plain))))
    first = send(durable, "a", queue="plain")
    wait_until(lambda: ["begin a"] == shop.lines())
    second = str(durable.app.send_task("plain.pass", ("b",), {"password": "hunter2"}, queue="plain").id)
    node = wait_until(lambda: (found := remote.one(plain)).reserved and found)
    assert [first] == [task["id"] for task in node.active]
    assert [(second, {"password": "***"})] == [(task["id"], task["kwargs"]) for task in node.reserved]
    remote.revoke(plain, second)
    wait_until(lambda: [second] == remote.one(plain).more["revoked"])
    remote.revoke(plain, first, terminate=True, signal="SIGKILL")
    wait_until(lambda: not remote.one(plain).active)
    third = send(durable, "c", queue="plain")
    shop.open_gates("a", "b", "c")
    wait_until(lambda: "end c" in shop.lines())
    assert ["begin a", "begin c", "end c"] == shop.lines()
    assert third


def test_limits_of_a_task_are_set_in_one_worker(shop, remote, plain, durable):
    assert "success" in remote.rate_limit(plain, "plain.pass", "1/h")
    for name in "ab":
        send(durable, name, queue="plain")
    shop.open_gates("a", "b")
    wait_until(lambda: ["begin a", "end a"] == shop.lines())
    assert "success" in remote.rate_limit(plain, "plain.pass", "0")
    send(durable, "c", queue="plain")
    shop.open_gates("c")
    wait_until(lambda: "end c" in shop.lines())
    assert "begin b" not in shop.lines()  # it came before c, and is held back for an hour
    assert "when its consumer starts again" in remote.time_limit(plain, "plain.pass", None, 0.3)
    with pytest.raises(WorkerRefused, match="unknown task"):
        remote.rate_limit(plain, "nobody", "1/s")


def test_a_time_limit_holds_for_the_next_plain_task_of_a_worker_with_celeriac(shop, remote, durable):
    worker = shop.worker(concurrency=1)
    (child,) = processes(remote.one("w0@test"))
    assert "success" in remote.time_limit("w0@test", "plain.pass", None, 0.3)
    send(durable, "never")  # its gate stays shut
    wait_until(lambda: (now := processes(remote.one("w0@test"))) and child not in now)
    assert ["begin never"] == shop.lines()
    assert "Hard time limit (0.3s) exceeded" in worker.log.read_text()


def test_a_drained_worker_hands_its_run_over_stays_up_and_comes_back(shop, remote, durable):
    shop.worker(concurrency=1)
    run = durable.trigger("five-steps")
    shop.pid_in_step(1)
    remote.drain("w0@test")
    shop.open_gates(1)
    wait_until(lambda: "queued" == run.refresh().status)
    wait_until(lambda: [0] == [row["slots"] for row in durable.database.all("select slots from celeriac.workers")])
    node = remote.one("w0@test")
    assert (True, []) == (node.is_draining, node.queues)
    remote.resume("w0@test")
    shop.open_gates(2, 3, 4, 5)
    with_beat = shop.beat()
    wait_until(lambda: "completed" == run.refresh().status)
    assert [1, 2, 3, 4, 5] == shop.steps()
    with_beat.end()


def test_a_worker_that_is_shut_down_hands_its_run_over_and_exits(shop, remote, durable):
    first = shop.worker(concurrency=1)
    run = durable.trigger("five-steps")
    shop.pid_in_step(1)
    remote.shut_down("w0@test")
    wait_until(lambda: "celery@nobody" not in names(durable) and run.refresh().row.epoch == 1)
    shop.open_gates(1)
    assert 0 == first.wait()
    assert ("queued", "its worker shuts down") == (run.refresh().status, run.row.cause)
    assert "Traceback" not in first.log.read_text()


def test_the_lists_of_the_broker_are_counted_by_priority_and_by_who_has_what(shop, remote, plain, durable):
    for priority in (0, 0, 3, 9):
        send(durable, "x", queue="late", priority=priority)
    for name in "abcdefghijklmnopqrstuvwxyz":
        send(durable, name, queue="plain")
    wait_until(lambda: remote.one(plain).reserved)
    found = durable.broker.lists(remote.all())
    late, plainly = (next(each for each in found.lists if each.name == name) for name in ("late", "plain"))
    assert (4, {"0": 2, "3": 1, "9": 1}, 0) == (late.messages, dict(late.priorities), late.consumers)
    assert (26, 1) == (plainly.messages + plainly.unacked + len(remote.one(plain).active), plainly.consumers)
    assert found.unacked == plainly.unacked > 0 <= found.oldest_unacked_seconds


@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_lists_are_found_behind_a_prefix_too(make_durable, redis_url, prefix):
    durable = make_durable(broker_transport_options={"global_keyprefix": prefix})
    for _ in range(2):
        send(durable, "x", queue="late")
    with durable.app.connection_for_read() as connection, connection.SimpleQueue("late") as late:
        taken = late.get(timeout=5)
        found = durable.broker.lists()
        assert {"late": (1, 1)} == {each.name: (each.messages, each.unacked) for each in found.lists if each.messages}
        assert (1, True) == (found.unacked, found.oldest_unacked_seconds >= 0)
        taken.ack()
    assert 1 == durable.broker.purge("late")


def test_another_broker_than_redis_is_asked_by_a_passive_declaration(make_durable):
    durable = make_durable(broker_url="memory://")
    send(durable, "x", queue="late")
    durable.app.amqp.queues.select_add("late")
    found = durable.broker.lists()
    assert ("memory", [("late", 1)]) == (found.transport, [(each.name, each.messages) for each in found.lists])
    assert 1 == durable.broker.purge("late")


def test_a_list_is_purged_and_the_runs_in_it_come_back(shop, durable):
    for _ in range(3):
        send(durable, "x", queue="late")
    assert 3 == durable.broker.purge("late")
    assert 0 == durable.broker.purge("late")
    for name in ("nothing", "celeriac:{five}:ready", "celery.pidbox"):
        with pytest.raises(UnknownQueue):
            durable.broker.purge(name)
    first: Process = shop.worker(concurrency=1)
    durable.remote_workers.cancel_consumer("w0@test", "celery")
    wait_until(lambda: [] == consumed(durable.remote_workers.one("w0@test")))
    run = durable.trigger("five-steps")
    assert 1 == durable.broker.purge("celery")
    durable.remote_workers.add_consumer("w0@test", "celery")
    shop.beat()
    shop.open_gates(1, 2, 3, 4, 5)
    wait_until(lambda: "completed" == run.refresh().status, 40)
    assert first.is_running
    assert runs.get(durable.database, run.row.id) is not None


def test_what_cannot_be_is_refused_before_anybody_is_asked(remote):
    for order in (
        lambda: remote.grow("w", 0),
        lambda: remote.shrink("w", True),
        lambda: remote.autoscale("w", 3, 2),
        lambda: remote.add_consumer("w", ""),
        lambda: remote.rate_limit("w", "task", "often"),
        lambda: remote.revoke("w", "run_" + "0" * 32),
        lambda: remote.revoke("w", "id", terminate=True, signal="SIGSTOP"),
    ):
        with pytest.raises(UsageError):
            order()


def test_nobody_waits_long_for_a_worker_that_is_not_there_or_behind_many_others(remote, durable):
    with pytest.raises(UnknownWorker):
        remote.one("nobody@nowhere")
    for _ in range(AT_ONCE):
        assert durable.remote._turns.acquire(blocking=False)
    with pytest.raises(BrokerUnavailable, match="others ask"):
        remote.all()


def test_without_a_broker_it_is_said_at_once(make_durable):
    away = make_durable(celeriac_redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable):
        away.remote_workers.all()
    with pytest.raises(BrokerUnavailable):
        away.broker.lists()


def test_over_http_on_the_page_and_in_the_terminal_it_is_the_same(shop, remote, plain, durable):
    shop.worker(concurrency=1)
    client = create_app(durable).test_client()
    nodes = client.get("/api/v1/nodes")
    assert {"plain@test": False, "w1@test": True} == {each["name"]: each["is_durable"] for each in nodes.json["nodes"]}
    check_answer(client.application, nodes)
    (row,) = client.get("/api/v1/workers").json["workers"]
    shown = client.get(f"/api/v1/workers/{row['id']}")
    check_answer(client.application, shown)
    assert ("w1@test", row["pid"], 1) == tuple(shown.json[each] for each in ("name", "pid", "slots"))
    grown = client.post("/api/v1/workers/w1@test/grow", json={"processes": 1})
    assert {"worker": "w1@test", "answer": "pool will grow"} == grown.json
    refused = client.post("/api/v1/workers/w1@test/restart-pool")
    assert (409, "urn:celeriac:problem:worker-refused") == (refused.status_code, refused.json["type"])
    broker = client.get("/api/v1/broker")
    check_answer(client.application, broker)
    assert {"celery", "plain"} <= {each["name"] for each in broker.json["lists"]}
    send(durable, "x", queue="late")
    assert {"name": "late", "purged": 1} == client.post("/api/v1/broker/late/purge").json
    written = [(each["path"], each["object_id"]) for each in client.get("/api/v1/audit").json["audit"]]
    assert ("/api/v1/workers/w1@test/grow", "w1@test") in written
    assert ("/api/v1/broker/late/purge", "late") in written

    assert "plain@test" not in client.get("/workers").text  # nobody is asked for the first paint
    for path in ("/workers?asked=1", "/workers/answers"):
        assert "plain@test" in client.get(path).text
    for path in ("/workers/w1@test?asked=1", "/workers/w1@test/answer"):
        assert "five-steps" in client.get(path).text
    assert 303 == client.post("/workers/w1@test/add-consumer", data={"queue": "late"}).status_code
    wait_until(lambda: "late" in consumed(remote.one("w1@test")))
    fault = client.post("/workers/w1@test/rate-limit", data={"task": "plain.pass", "rate": "often"})
    assert (422, True) == (fault.status_code, "rate: &#39;often&#39; is none" in fault.text)

    def celeriac(*words: str) -> str:
        done = CliRunner().invoke(command, words, obj={"app": durable.app})
        assert 0 == done.exit_code, done.output
        return done.output

    assert "plain@test" in celeriac("ask")
    assert "five-steps" in celeriac("show", "w1@test")
    assert "no longer consuming from late" in celeriac("cancel-consumer", "w1@test", "late")
    assert "plain" in celeriac("broker")
    send(durable, "x", queue="late")
    assert "1 messages dropped" in celeriac("purge", "late", "--yes")
    assert "CLI" == client.get("/api/v1/audit").json["audit"][0]["method"]


def test_what_a_request_cannot_ask_of_a_worker_points_to_its_fault(durable):
    client = create_app(durable).test_client()
    for path, body, pointer in (
        ("autoscale", {"least": 1}, "/most"),
        ("autoscale", {"least": 3, "most": 2}, "/most"),
        ("grow", {"processes": 0}, "/processes"),
        ("add-consumer", {"queue": 7}, "/queue"),
        ("rate-limit", {"task": "t", "rate": 7}, "/rate"),
        ("time-limit", {"task": "t", "soft": -1}, "/soft"),
        ("revoke", {"task_id": "run_" + "0" * 32}, "/task_id"),
        ("revoke", {"task_id": "t", "signal": "SIGSTOP"}, "/signal"),
        ("revoke", {"task_id": "t", "terminate": 1}, "/terminate"),
    ):
        answer = client.post(f"/api/v1/workers/w/{path}", json=body)
        assert (422, pointer) == (answer.status_code, answer.json["errors"][0]["pointer"]), (path, body)
    assert 404 == client.get("/api/v1/workers/nobody@nowhere").status_code
    assert 404 == client.post("/api/v1/broker/nothing/purge").status_code
