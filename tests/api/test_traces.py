"""Traces over HTTP: the tree of a run, and how a request and a webhook go on in the trace of who sent them."""

import hmac

from celeriac.state import logs, runs
from celeriac.state.logs import NewLine

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = CALLER.split("-")[1:3]


def trace(client, run_id, query=""):
    answer = client.get(f"/api/v1/runs/{run_id}/trace{query}")
    assert 200 == answer.status_code, answer.text
    return answer.get_json()


def named(client, run_id, name):
    return next(span for span in trace(client, run_id)["spans"] if span["name"] == name)


def test_a_trace_tells_each_span_with_its_place_times_and_attributes(client, worker, start):
    id = start()
    run = worker.claim(id)
    runs.complete(worker.database, run.id, run.epoch, "1")
    found = trace(client, id)
    assert [
        (0, "trigger api-tests.greet"),
        (1, "run api-tests.greet"),
        (2, "queued"),
        (2, "attempt 1"),
    ] == [(span["depth"], span["name"]) for span in found["spans"]]
    assert not found["truncated"]
    whole = found["spans"][1]
    assert found["spans"][0]["span_id"] == whole["parent_id"]
    assert ("consumer", "unset", None) == (whole["kind"], whole["status"], whole["message"])
    assert id == whole["attributes"]["celeriac.run.id"]
    assert 0 < whole["duration_ms"] < 60_000


def test_the_tree_has_the_same_spans_within_each_other(client, worker, start):
    id = start()
    worker.complete(id)
    top = trace(client, id, "?form=tree")["spans"]
    assert ["trigger api-tests.greet"] == [span["name"] for span in top]
    below = top[0]["spans"][0]
    assert "run api-tests.greet" == below["name"]
    assert ["queued", "attempt 1"] == [span["name"] for span in below["spans"]]


def test_a_trace_that_is_cut_says_so(client, worker, start):
    id = start()
    worker.complete(id)
    cut = trace(client, id, "?limit=2")
    assert (2, True) == (len(cut["spans"]), cut["truncated"])


def test_what_cannot_be_asked_for_is_refused(client, start):
    id = start()
    for query in ("?limit=0", "?limit=5001", "?limit=x", "?form=round", "?from=1"):
        assert 400 == client.get(f"/api/v1/runs/{id}/trace{query}").status_code, query
    assert 404 == client.get(f"/api/v1/runs/run_{'0' * 32}/trace").status_code


def test_a_trigger_goes_on_in_the_trace_of_its_request(client):
    answer = client.post(
        "/api/v1/workflows/api-tests.greet/trigger", json={"payload": {"name": "Ada"}}, headers={"traceparent": CALLER}
    )
    id = answer.get_json()["id"]
    assert TRACE == trace(client, id)["trace_id"]
    assert PARENT == named(client, id, "trigger api-tests.greet")["parent_id"]


def test_the_request_after_one_with_a_trace_has_none(client, start):
    client.get("/livez", headers={"traceparent": CALLER})
    assert TRACE != trace(client, start())["trace_id"]


def test_a_traceparent_that_is_none_is_ignored(client):
    answer = client.post(
        "/api/v1/workflows/api-tests.greet/trigger", json={"payload": {"name": "A"}}, headers={"traceparent": "00-zz"}
    )
    assert 202 == answer.status_code
    assert named(client, answer.get_json()["id"], "trigger api-tests.greet")["parent_id"] is None


def test_a_webhook_is_one_trace_from_its_sender_through_the_delivery_to_its_run(client, durable):
    body = b'{"n": 1}'
    signature = hmac.new(b"new secret", body, "sha256").hexdigest()
    headers = {"X-Signature": signature, "traceparent": CALLER}
    answer = client.post("/hooks/plain", data=body, headers=headers)
    assert 202 == answer.status_code, answer.text
    row = durable.database.one("select id from celeriac.runs where source = 'webhook'")
    found = trace(client, f"run_{row['id'].hex}")
    assert TRACE == found["trace_id"]
    assert [(0, "receive plain"), (1, "route api-tests.anything"), (2, "run api-tests.anything"), (3, "queued")] == [
        (span["depth"], span["name"]) for span in found["spans"]
    ]
    assert PARENT == found["spans"][0]["parent_id"]
    assert "server" == found["spans"][0]["kind"]


def test_the_lines_of_a_log_name_the_spans_that_they_were_said_in(client, worker, start, durable):
    id = start()
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", 1)
    said = [
        NewLine(None, run.id, run.workflow, step, run.attempt, None, run.epoch, 20, "shop", "hello", None)
        for step in (None, "fetch")
    ]
    logs.write(durable.database, said)
    runs.complete(worker.database, run.id, run.epoch, "1")
    answer = client.get(f"/api/v1/runs/{id}/logs").get_json()
    spans = [named(client, id, name)["span_id"] for name in ("attempt 1", "step fetch")]
    assert (trace(client, id)["trace_id"], spans) == (answer["trace_id"], [line["span_id"] for line in answer["logs"]])


def test_the_page_of_a_run_shows_its_trace(client, worker, start):
    id = start()
    worker.fail(id)
    attempt = named(client, id, "attempt 1")["span_id"]
    plain, shown = client.get(f"/runs/{id}").text, client.get(f"/runs/{id}?trace=1").text
    assert trace(client, id)["trace_id"] in plain
    assert (False, True) == (attempt in plain, attempt in shown)
