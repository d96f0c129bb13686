"""Many runs moved by one order, over HTTP and from the page."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.beat.bulk import BulkService
from celeriac.state.ids import new_id

Start = Callable[..., str]
OPTIONS = {"workflow": "api-tests.greet", "status": "failed"}


def order(client: FlaskClient, action: Any = "retry", filter: Any = OPTIONS, **members: Any) -> Any:
    return client.post("/api/v1/bulk", json={"action": action, "filter": filter, **members})


@pytest.fixture
def failed(start: Start, worker: Any) -> list[str]:
    found = [start(tags=["crm"]) for _ in range(3)]
    for id in found:
        worker.fail(id)
    start()
    return found


def test_a_dry_run_counts_and_writes_nothing_down(client: FlaskClient, failed: list[str]) -> None:
    answer = order(client, dry_run=True)
    assert (200, {"action": "retry", "matched": 3}) == (answer.status_code, answer.json)
    assert {"orders": []} == client.get("/api/v1/bulk").json
    for filter, matched in (({}, 3), ({"tag": "crm"}, 3), ({"tag": "eu"}, 0), ({"status": ["failed", "crashed"]}, 3)):
        assert matched == order(client, filter=filter, dry_run=True).json["matched"]


def test_an_order_is_written_down_worked_off_and_tells_how_far_it_is(
    client: FlaskClient, durable: Celeriac, failed: list[str]
) -> None:
    answer = order(client)
    document = answer.json
    assert (202, f"/api/v1/bulk/{document['id']}") == (answer.status_code, answer.headers["Location"])
    assert ("retry", "running", 3, 0, "api") == tuple(
        document[name] for name in ("action", "status", "matched", "done", "actor")
    )
    assert document["id"].startswith("blk_")
    assert ("api-tests.greet", ["failed"]) == (document["filter"]["workflow"], document["filter"]["status"])
    assert document["filter"]["created_to"].endswith("Z")
    BulkService(durable).run_once()
    done = client.get(answer.headers["Location"]).json
    assert ("completed", 3, 0, 0) == tuple(done[name] for name in ("status", "done", "skipped", "failed"))
    assert [done] == client.get("/api/v1/bulk").json["orders"]
    assert {"queued"} == {client.get(f"/api/v1/runs/{id}").json["status"] for id in failed}


def test_an_order_is_aborted_once(client: FlaskClient, failed: list[str]) -> None:
    path = order(client).headers["Location"]
    aborted = client.post(f"{path}/abort")
    assert (200, "aborted") == (aborted.status_code, aborted.json["status"])
    again = client.post(f"{path}/abort")
    assert (409, "aborted") == (again.status_code, again.json["order_status"])


def test_an_order_that_is_sent_again_with_its_key_is_one_order(client: FlaskClient, failed: list[str]) -> None:
    key = {"Idempotency-Key": "tuesday's"}
    body = {"action": "replay", "filter": OPTIONS}
    first, again = (client.post("/api/v1/bulk", json=body, headers=key) for _ in range(2))
    assert (202, 202, "true") == (first.status_code, again.status_code, again.headers["Idempotency-Replayed"])
    assert [first.json] == [again.json] == client.get("/api/v1/bulk").json["orders"]
    for other in (body | {"action": "retry"}, body | {"filter": OPTIONS | {"tag": "crm"}}):
        assert 422 == client.post("/api/v1/bulk", json=other, headers=key).status_code


@pytest.mark.parametrize("id", [f"blk_{new_id().hex}", "nonsense"])
def test_an_unknown_order_is_404(client: FlaskClient, id: str) -> None:
    assert 404 == client.get(f"/api/v1/bulk/{id}").status_code
    assert 404 == client.post(f"/api/v1/bulk/{id}/abort").status_code
    assert 404 == client.post(f"/bulk/{id}/abort").status_code


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {}}, "/action"),
        ({"action": "delete", "filter": {}}, "/action"),
        ({"action": ["retry"], "filter": {}}, "/action"),
        ({"action": "retry"}, "/filter"),
        ({"action": "retry", "filter": []}, "/filter"),
        ({"action": "retry", "filter": {"stat": "failed"}}, "/filter/stat"),
        ({"action": "retry", "filter": {"limit": "5"}}, "/filter/limit"),
        ({"action": "retry", "filter": {"status": "faled"}}, "/filter/status"),
        ({"action": "retry", "filter": {"status": 5}}, "/filter/status"),
        ({"action": "retry", "filter": {"status": "completed"}}, "/filter/status"),
        ({"action": "retry", "filter": {"status": "completed"}, "dry_run": True}, "/filter/status"),
        ({"action": "retry", "filter": {"tag": ["crm"]}}, "/filter/tag"),
        ({"action": "retry", "filter": {"tag": "\0"}}, "/filter/tag"),
        ({"action": "retry", "filter": {"created_to": "soon"}}, "/filter/created_to"),
        ({"action": "retry", "filter": {"parent_id": "x"}}, "/filter/parent_id"),
        ({"action": "retry", "filter": {}, "dry_run": "yes"}, "/dry_run"),
        ({"action": "retry", "filter": {}, "dry": True}, "/dry"),
    ],
)
def test_an_order_that_cannot_be_is_422_with_a_pointer(client: FlaskClient, body: Any, pointer: str) -> None:
    answer = client.post("/api/v1/bulk", json=body)
    assert (422, [pointer]) == (answer.status_code, [fault["pointer"] for fault in answer.json["errors"]])
    assert [] == client.get("/api/v1/bulk").json["orders"]


def test_an_order_can_be_for_the_children_of_a_run(client: FlaskClient, start: Start) -> None:
    id = start()
    document = order(client, "cancel", {"parent_id": id}).json
    assert (id, 0) == (document["filter"]["parent_id"], document["matched"])


def test_a_filtered_list_leads_to_a_page_that_counts_and_asks_first(client: FlaskClient, failed: list[str]) -> None:
    listed = client.get("/runs?workflow=api-tests.greet&status=failed").text
    assert "All that match" in listed
    assert '<input type="hidden" name="q" value="status:failed workflow:api-tests.greet">' in listed
    assert 'value="retry">Retry <span class="count">3</span>' in listed
    assert 'value="cancel"' not in listed  # a failed run cannot be cancelled
    asked = client.get("/bulk/new?action=retry&q=status:failed+workflow:api-tests.greet").text
    assert "Retry 3 runs?" in asked
    assert all(id in asked for id in failed)
    assert [] == client.get("/api/v1/bulk").json["orders"]


def test_the_order_that_was_confirmed_is_for_what_was_counted(client: FlaskClient, failed: list[str]) -> None:
    fields = {"action": "retry", "status": "failed", "workflow": "api-tests.greet", "id": f"blk_{new_id().hex}"}
    for _ in range(2):  # a double click is one order
        answer = client.post("/bulk", data=fields, follow_redirects=True)
        assert "Ordered: beat works it off" in answer.text
    (document,) = client.get("/api/v1/bulk").json["orders"]
    assert ("retry", 3, "page") == (document["action"], document["matched"], document["actor"])


def test_the_page_of_orders_shows_how_far_they_are_and_aborts_one(
    client: FlaskClient, durable: Celeriac, failed: list[str]
) -> None:
    assert "No order yet" in client.get("/bulk").text
    id = order(client).json["id"]
    running = client.get("/bulk").text
    assert '<progress class="running" value="0" max="3"' in running
    assert f"/bulk/{id}/abort" in running
    assert "Aborted" in client.post(f"/bulk/{id}/abort", follow_redirects=True).text
    assert "Too late" in client.post(f"/bulk/{id}/abort", follow_redirects=True).text
    assert f"/bulk/{id}/abort" not in client.get("/bulk").text


def test_a_page_that_asks_for_what_cannot_be_is_refused(client: FlaskClient) -> None:
    assert 422 == client.get("/bulk/new").status_code
    assert 422 == client.get("/bulk/new?action=retry&status=completed").status_code
    assert 400 == client.get("/bulk/new?action=retry&created_to=soon").status_code
    assert 422 == client.post("/bulk", data={"action": "delete"}).status_code
    assert 404 == client.post("/bulk", data={"action": "retry"}).status_code
    nothing = client.get("/bulk/new?action=retry&workflow=nothing").text
    assert ("No run to retry" in nothing, 'id="order"' in nothing) == (True, False)
