"""Starting runs over HTTP."""

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app

GREET = "/api/v1/workflows/api-tests.greet/trigger"
ANYTHING = "/api/v1/workflows/api-tests.anything/trigger"
BATCH = "/api/v1/workflows/api-tests.greet/batch"
CLOSED_PORT = 9


def pointers(answer: Any) -> list[str]:
    assert answer.mimetype == "application/problem+json"
    return [fault["pointer"] for fault in answer.get_json()["errors"]]


def test_a_trigger_answers_202_with_the_id_status_and_workflow(client: FlaskClient) -> None:
    answer = client.post(GREET, json={"payload": {"name": "Ada"}})
    assert answer.status_code == 202
    body = answer.get_json()
    assert body == {"id": body["id"], "status": "queued", "workflow": "api-tests.greet"}
    assert answer.headers["Location"] == f"/api/v1/runs/{body['id']}"
    kept = client.get(answer.headers["Location"]).get_json()
    assert kept["payload"] == {"name": "Ada"}
    assert kept["source"] == "api"


def test_a_payload_keeps_the_order_and_alphabet_of_its_members(client: FlaskClient) -> None:
    payload = {"zebra": 1, "apple": "größe", "big": 12345678901234567890}
    id = client.post(ANYTHING, json={"payload": payload}).get_json()["id"]
    answer = client.get(f"/api/v1/runs/{id}")
    assert list(answer.get_json()["payload"].items()) == list(payload.items())
    assert "größe" in answer.text


def test_a_payload_that_does_not_fit_is_422_with_a_pointer_to_each_fault(client: FlaskClient) -> None:
    answer = client.post(GREET, json={"payload": {"times": "often", "nam/e": "Ada"}})
    assert answer.status_code == 422
    assert sorted(pointers(answer)) == ["/payload/name", "/payload/nam~1e", "/payload/times"]
    assert "often" not in answer.text


@pytest.mark.parametrize("payload", [["Ada"], "Ada", 1, None, True])
def test_a_payload_that_is_no_object_is_422(client: FlaskClient, payload: object) -> None:
    answer = client.post(GREET, json={"payload": payload})
    assert answer.status_code == 422
    assert pointers(answer) == ["/payload"]


def test_a_member_that_a_body_does_not_have_is_422_with_the_nearest_one(client: FlaskClient) -> None:
    answer = client.post(GREET, json={"paylod": {"name": "Ada"}})
    assert answer.status_code == 422
    assert pointers(answer) == ["/paylod"]
    assert "'payload'" in answer.get_json()["detail"]


def test_a_value_that_postgres_cannot_keep_is_422(client: FlaskClient) -> None:
    for text in ('{"payload": {"name": "a\\u0000b"}}', '{"payload": {"name": "\\ud800"}}', '{"payload": {"x": 1e999}}'):
        answer = client.post(ANYTHING, data=text, content_type="application/json")
        assert answer.status_code == 422, text
        assert pointers(answer) == ["/payload"]


def test_an_unknown_workflow_is_404_with_the_nearest_name(client: FlaskClient) -> None:
    answer = client.post("/api/v1/workflows/api-tests.gret/trigger", json={})
    assert answer.status_code == 404
    assert "'api-tests.greet'" in answer.get_json()["detail"]


def test_broken_json_is_400_with_the_position(client: FlaskClient) -> None:
    answer = client.post(GREET, data='{"payload": {"name": }}', content_type="application/json")
    assert answer.status_code == 400
    assert answer.get_json()["position"] == 21
    assert "line 1, column 22" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    "text",
    ['{"payload": {"x": NaN}}', "[" * 100_000, '{"payload": {"x": ' + "9" * 6000 + "}}", b'{"payload": "\xff"}'],
    ids=["NaN", "100,000 brackets", "6,000 digits", "no UTF-8"],
)
def test_json_that_no_one_can_keep_is_400(client: FlaskClient, text: str | bytes) -> None:
    assert client.post(ANYTHING, data=text, content_type="application/json").status_code == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_another_content_type_is_415(client: FlaskClient, content_type: str | None) -> None:
    answer = client.post(GREET, data="{}", content_type=content_type)
    assert answer.status_code == 415
    assert "application/json" in answer.get_json()["detail"]


def test_no_body_is_an_empty_payload(client: FlaskClient) -> None:
    assert client.post(ANYTHING).status_code == 202


def test_a_payload_above_its_limit_is_413(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_payload_limit_bytes=100)
    answer = client.post(ANYTHING, json={"payload": {"x": "x" * 200}})
    assert answer.status_code == 413
    assert "limit is 100" in answer.get_json()["detail"]


def test_a_chunked_body_above_the_limit_is_413_and_never_cut_off(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_payload_limit_bytes=100)
    answer = client.post(
        ANYTHING,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True, "wsgi.input": Endless(200_000), "CONTENT_LENGTH": ""},
    )
    assert answer.status_code == 413
    assert client.get("/api/v1/runs").get_json()["runs"] == []


def test_a_body_that_ends_early_is_400_and_not_taken_for_whole(client: FlaskClient) -> None:
    short = {"wsgi.input": io.BytesIO(b"{}"), "wsgi.input_terminated": True, "CONTENT_LENGTH": "100"}
    answer = client.post(ANYTHING, content_type="application/json", environ_overrides=short)
    assert answer.status_code == 400
    assert "2 of its 100 bytes" in answer.get_json()["detail"]


class Endless:
    """A body of so many bytes, which counts what was read of it."""

    def __init__(self, size: int):
        self.left = size

    def read(self, size: int = -1) -> bytes:
        taken = self.left if size < 0 else min(size, self.left)
        self.left -= taken
        return b" " * taken

    def close(self) -> None:
        pass


def test_options_set_what_they_say(client: FlaskClient) -> None:
    eta = datetime.now(UTC) + timedelta(hours=1)
    options = {
        "eta": eta.isoformat(), "expires": 60, "priority": 5, "tags": ["crm"], "metadata": {"by": "Ada"},
        "max_attempts": 4, "idempotency_key": "k1", "idempotency_ttl": 60,
    }  # fmt: skip
    answer = client.post(GREET, json={"payload": {"name": "Ada"}, "options": options})
    run = client.get(answer.headers["Location"]).get_json()
    assert run["status"] == "delayed"
    assert datetime.fromisoformat(run["run_at"]) == eta
    assert datetime.fromisoformat(run["expires_at"]) == eta + timedelta(seconds=60)
    kept = {name: run[name] for name in ("priority", "tags", "metadata", "max_attempts", "idempotency_key")}
    assert kept == {name: options[name] for name in kept}


def test_an_unknown_option_is_400_with_the_nearest_one(client: FlaskClient) -> None:
    answer = client.post(GREET, json={"payload": {"name": "Ada"}, "options": {"count_down": 3}})
    assert answer.status_code == 400
    assert "'countdown'" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"eta": "tomorrow"}, 422),
        ({"eta": 5}, 400),
        ({"expires": "soon"}, 422),
        ({"countdown": -1}, 422),
        ({"countdown": 1e300}, 422),
        ({"countdown": "3"}, 400),
        ({"priority": 10**12}, 422),
        ({"priority": 1.5}, 400),
        ({"max_attempts": 0}, 400),
        ({"idempotency_ttl": 0}, 422),
        ({"tags": "crm"}, 422),
        ({"tags": [1]}, 400),
        ({"tags": ["a\0b"]}, 422),
        ({"metadata": {"a": "\ud800"}}, 422),
        ({"metadata": [1]}, 400),
        ({"idempotency_key": ""}, 400),
        ({"idempotency_key": 7}, 400),
        ([], 422),
    ],
)
def test_an_option_that_cannot_be_is_refused(client: FlaskClient, options: Any, status: int) -> None:
    body = json.dumps({"payload": {"name": "Ada"}, "options": options})
    answer = client.post(GREET, data=body, content_type="application/json")
    assert answer.status_code == status, answer.text
    assert answer.get_json()["detail"]
    assert client.get("/api/v1/runs").get_json()["runs"] == []


@pytest.mark.parametrize(
    ("options", "pointer", "told"),
    [
        ({"queue": 5}, "/options/queue", "a string"),
        ({"queue": ""}, "/options/queue", "a string"),
        ({"queue": ["crm"]}, "/options/queue", "a string"),
        ({"queue": "a\0b"}, "/options/queue", "NUL"),
        ({"concurrency_key": 7}, "/options/concurrency_key", "a string"),
        ({"concurrency_key": ""}, "/options/concurrency_key", "a string"),
        ({"concurrency_key": "x" * 201}, "/options/concurrency_key", "200"),
        ({"concurrency_key": "a\nb"}, "/options/concurrency_key", "printable"),
        ({"concurrency_key": "\ud800"}, "/options/concurrency_key", "surrogate"),
        ({"idempotency_scope": "everywhere"}, "/options/idempotency_scope", "known are"),
        ({"idempotency_scope": "golbal"}, "/options/idempotency_scope", "did you mean 'global'"),
        ({"idempotency_scope": {}}, "/options/idempotency_scope", "no scope"),
        ({"debounce": "c1"}, "/options/debounce", "an object"),
        ({"debounce": []}, "/options/debounce", "an object"),
        ({"debounce": {"delay": 5}}, "/options/debounce/key", "a string"),
        ({"debounce": {"key": 5, "delay": 5}}, "/options/debounce/key", "a string"),
        ({"debounce": {"key": "c1"}}, "/options/debounce/delay", "a number"),
        ({"debounce": {"key": "c1", "delay": None}}, "/options/debounce/delay", "a number"),
        ({"debounce": {"key": "c1", "delay": "5"}}, "/options/debounce/delay", "a number"),
        ({"debounce": {"key": "c1", "delay": True}}, "/options/debounce/delay", "a number"),
        ({"debounce": {"key": "c1", "delay": 0}}, "/options/debounce/delay", "out of range"),
        ({"debounce": {"key": "c1", "delay": -1}}, "/options/debounce/delay", "out of range"),
        ({"debounce": {"key": "c1", "delay": 100 * 366 * 86_400 + 1}}, "/options/debounce/delay", "out of range"),
        ({"debounce": {"key": "c1", "delay": 10**400}}, "/options/debounce/delay", "out of range"),
        ({"debounce": {"key": "c1", "delay": 5, "max_delay": 4}}, "/options/debounce/max_delay", "out of range"),
        ({"debounce": {"key": "c1", "delay": 5, "mode": "trialing"}}, "/options/debounce/mode", "'trailing'"),
        ({"debounce": {"key": "c1", "delay": 5, "mode": []}}, "/options/debounce/mode", "no mode"),
        ({"debounce": {"key": "c1", "dely": 5}}, "/options/debounce/dely", "did you mean 'delay'"),
        ({"debounce": {"key": "a\0b", "delay": 5}}, "/options/debounce", "NUL"),
    ],
)
def test_an_option_about_queues_that_cannot_be_is_422_with_a_pointer(
    client: FlaskClient, options: Any, pointer: str, told: str
) -> None:
    body = json.dumps({"payload": {"name": "Ada"}, "options": options})
    answer = client.post(GREET, data=body, content_type="application/json")
    assert answer.status_code == 422, answer.text
    assert pointers(answer) == [pointer]
    assert told in answer.get_json()["detail"]
    assert client.get("/api/v1/runs").get_json()["runs"] == []


def test_an_unknown_queue_is_404_with_the_nearest_name(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    answer = client.post(GREET, json={"payload": {"name": "Ada"}, "options": {"queue": "api-tests.gret"}})
    assert answer.status_code == 404
    assert answer.get_json()["type"] == "urn:celeriac:problem:unknown-queue"
    assert "'api-tests.greet'" in answer.get_json()["detail"]


def test_a_trigger_names_its_queue_and_concurrency_key(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    options = {"queue": "api-tests.anything", "concurrency_key": "import-7"}
    answer = client.post(GREET, json={"payload": {"name": "Ada"}, "options": options})
    run = client.get(answer.headers["Location"]).get_json()
    assert {name: run[name] for name in options} == options


def test_debounced_triggers_are_one_run_with_the_payload_of_the_last(client: FlaskClient) -> None:
    debounce = {"key": "c1", "delay": 60, "max_delay": None}
    answers = [
        client.post(GREET, json={"payload": {"name": name}, "options": {"debounce": debounce}})
        for name in ("Ada", "Grace")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    (run,) = client.get("/api/v1/runs").get_json()["runs"]
    assert [run["id"]] * 2 == [answer.get_json()["id"] for answer in answers]
    assert (run["status"], run["payload"]) == ("delayed", {"name": "Grace"})
    assert all("Idempotency-Replayed" not in answer.headers for answer in answers)


@pytest.mark.parametrize("mode", ["leading", "trailing"])
def test_the_longest_debounce_that_is_taken_can_be_kept(client: FlaskClient, mode: str) -> None:
    longest = 100 * 366 * 86_400
    for delay in ({"delay": longest}, {"delay": longest, "max_delay": longest}):
        options = {"debounce": {"key": "c1", "mode": mode, **delay}}
        assert client.post(GREET, json={"payload": {"name": "Ada"}, "options": options}).status_code == 202


def test_one_key_of_two_workflows_is_a_conflict_in_the_global_scope(client: FlaskClient) -> None:
    for url, status in ((GREET, 202), (ANYTHING, 409)):
        options = {"idempotency_key": "order-7", "idempotency_scope": "global"}
        answer = client.post(url, json={"payload": {"name": "Ada"}, "options": options})
        assert answer.status_code == status, answer.text


def test_a_second_trigger_with_an_idempotency_key_returns_the_first_run(client: FlaskClient) -> None:
    body = {"payload": {"name": "Ada"}, "options": {"idempotency_key": "k"}}
    first, second = (client.post(GREET, json=body) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.get_json()["id"] == second.get_json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"


def test_an_idempotency_key_with_another_payload_is_409(client: FlaskClient) -> None:
    for name, status in (("Ada", 202), ("Grace", 409)):
        body = {"payload": {"name": name}, "options": {"idempotency_key": "k"}}
        answer = client.post(GREET, json=body)
        assert answer.status_code == status
    assert answer.get_json()["type"] == "urn:celeriac:problem:idempotency-conflict"


def test_of_racing_triggers_with_one_key_one_starts_the_run(durable: Celeriac) -> None:
    app, together = create_app(durable), Barrier(8)

    def trigger(_: int) -> tuple[str, bool]:
        together.wait()
        answer = app.test_client().post(GREET, json={"payload": {"name": "Ada"}, "options": {"idempotency_key": "k"}})
        assert answer.status_code == 202, answer.text
        return answer.get_json()["id"], "Idempotency-Replayed" in answer.headers

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(trigger, range(8)))
    assert len({id for id, _ in answers}) == 1
    assert sorted(is_replayed for _, is_replayed in answers) == [False] + [True] * 7


def test_a_trigger_that_waits_answers_200_with_the_run_when_it_ended(client: FlaskClient, worker: Any) -> None:
    key = {"payload": {"name": "Ada"}, "options": {"idempotency_key": "k"}}
    id = client.post(GREET, json=key).get_json()["id"]
    helper = Thread(target=worker.complete, args=(id, "hello Ada"))
    helper.start()
    answer = client.post(f"{GREET}?wait=20", json=key)
    helper.join()
    assert answer.status_code == 200
    assert answer.get_json()["output"] == "hello Ada"
    assert answer.get_json()["status"] == "completed"


def test_a_trigger_that_waits_in_vain_answers_202(client: FlaskClient) -> None:
    answer = client.post(f"{GREET}?wait=0.05", json={"payload": {"name": "Ada"}})
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "queued"


@pytest.mark.parametrize("wait", ["soon", "-1", "nan"])
def test_a_wait_that_is_no_number_is_400_and_starts_nothing(client: FlaskClient, wait: str) -> None:
    assert client.post(f"{GREET}?wait={wait}", json={"payload": {"name": "Ada"}}).status_code == 400
    assert client.get("/api/v1/runs").get_json()["runs"] == []


def test_a_batch_starts_a_run_for_each_payload(client: FlaskClient) -> None:
    answer = client.post(BATCH, json={"payloads": [{"name": "Ada"}, {"name": "Grace"}], "options": {"tags": ["b"]}})
    assert answer.status_code == 202
    assert [run["status"] for run in answer.get_json()["runs"]] == ["queued", "queued"]
    tagged = client.get("/api/v1/runs?tag=b").get_json()["runs"]
    assert {run["id"] for run in tagged} == {run["id"] for run in answer.get_json()["runs"]}


def test_one_payload_of_a_batch_that_does_not_fit_starts_none(client: FlaskClient) -> None:
    answer = client.post(BATCH, json={"payloads": [{"name": "Ada"}, {"nam": "Grace"}, {"name": "G", "times": "x"}]})
    assert answer.status_code == 422
    assert sorted(pointers(answer)) == ["/payloads/1/nam", "/payloads/1/name", "/payloads/2/times"]
    assert client.get("/api/v1/runs").get_json()["runs"] == []


@pytest.mark.parametrize("payloads", ["x", [1], [{}] * 1001])
def test_a_batch_that_is_no_list_of_objects_is_422(client: FlaskClient, payloads: object) -> None:
    assert client.post(BATCH, json={"payloads": payloads}).status_code == 422


def test_a_batch_with_one_idempotency_key_for_several_runs_is_400(client: FlaskClient) -> None:
    body = {"payloads": [{"name": "Ada"}, {"name": "Grace"}], "options": {"idempotency_key": "k"}}
    assert client.post(BATCH, json=body).status_code == 400


def test_without_redis_a_trigger_is_still_acknowledged(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
    assert client.post(GREET, json={"payload": {"name": "Ada"}}).status_code == 202


def test_without_postgres_a_trigger_is_503_and_says_when_to_come_again(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_database_url=f"postgresql://someone:secret@127.0.0.1:{CLOSED_PORT}/celeriac")
    answer = client.post(GREET, json={"payload": {"name": "Ada"}})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.mimetype == "application/problem+json"
    assert "127.0.0.1" not in answer.text
    assert "secret" not in answer.text
