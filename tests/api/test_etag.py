"""ETags: nothing is sent again that is the same, and nobody overwrites what another one changed meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.beat.scheduler import Scheduler
from celeriac.state import endpoints as state_endpoints
from celeriac.state import queues
from celeriac.workflows.declaration import declaration_of

SCHEDULE = "/api/v1/schedules/hourly"
QUEUE = "/api/v1/queues/api-tests.greet"
ENDPOINT = "/api/v1/endpoints/made"
BODY = {"workflow": "api-tests.greet", "payload": {"name": "Ada"}, "cron": "0 * * * *"}


@pytest.fixture(autouse=True)
def made(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    assert 201 == client.post("/api/v1/schedules", json=BODY | {"key": "hourly"}).status_code
    assert 201 == client.post("/api/v1/endpoints", json={"name": "made", "verify": "github"}).status_code


@pytest.mark.parametrize("path", [SCHEDULE, QUEUE, ENDPOINT])
def test_what_is_the_same_is_304_and_what_changed_is_sent(client: FlaskClient, path: str) -> None:
    tag = client.get(path).headers["ETag"]
    same = client.get(path, headers={"If-None-Match": tag})
    assert (304, b"", tag) == (same.status_code, same.data, same.headers["ETag"])
    assert 304 == client.get(path, headers={"If-None-Match": f"W/{tag}"}).status_code
    assert 200 == client.post(f"{path}/pause").status_code
    changed = client.get(path, headers={"If-None-Match": tag})
    assert (200, True) == (changed.status_code, changed.json["is_paused"])


def test_a_run_is_304_until_it_moves(client: FlaskClient, start: Callable[..., str], worker: Any) -> None:
    path = f"/api/v1/runs/{(id := start())}"
    tag = client.get(path).headers["ETag"]
    assert 304 == client.get(path, headers={"If-None-Match": tag}).status_code
    worker.complete(id)
    assert 200 == client.get(path, headers={"If-None-Match": tag}).status_code


CHANGES: list[tuple[str, str, Any]] = [
    ("POST", f"{SCHEDULE}/pause", None),
    ("POST", f"{SCHEDULE}/resume", None),
    ("PATCH", SCHEDULE, {"cron": "5 * * * *"}),
    ("PUT", SCHEDULE, BODY | {"cron": "5 * * * *"}),
    ("DELETE", SCHEDULE, None),
    ("POST", f"{QUEUE}/pause", None),
    ("POST", f"{QUEUE}/resume", None),
    ("POST", f"{QUEUE}/drain", None),
    ("PATCH", QUEUE, {"limits": {"concurrency": 5}}),
    ("POST", f"{QUEUE}/reset", None),
    ("POST", f"{ENDPOINT}/pause", None),
    ("POST", f"{ENDPOINT}/resume", None),
    ("POST", "/api/v1/endpoints", {"name": "made", "verify": "github", "events": True}),
    ("DELETE", ENDPOINT, None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_change_of_what_somebody_else_changed_meanwhile_is_412_and_changes_nothing(
    client: FlaskClient, method: str, path: str, body: Any
) -> None:
    row = next(each for each in (SCHEDULE, QUEUE, ENDPOINT) if path.startswith(each) or "endpoints" in each)
    seen = client.get(row).headers["ETag"]
    assert 200 == client.post(f"{row}/pause", json={"note": "the other one"}).status_code
    stands = client.get(row).json
    late = client.open(path, method=method, json=body, headers={"If-Match": seen})
    assert (412, "urn:celeriac:problem:revision-conflict") == (late.status_code, late.json["type"])
    assert stands == client.get(row).json
    again = client.open(path, method=method, json=body, headers={"If-Match": late.headers["ETag"]})
    assert again.status_code in (200, 201, 204), again.text


@pytest.mark.parametrize("tag", ['"nonsense"', '"0-abc"', '""', f'"{"9" * 40}"', "unquoted"])
def test_a_tag_that_was_never_given_out_matches_nothing(client: FlaskClient, tag: str) -> None:
    for path in (SCHEDULE, QUEUE, ENDPOINT):
        assert 412 == client.post(f"{path}/pause", headers={"If-Match": tag}).status_code


def test_any_of_several_tags_and_a_star_match(client: FlaskClient) -> None:
    tag = client.get(SCHEDULE).headers["ETag"]
    for given in (f'"0-x", {tag}', f"W/{tag}", "*"):
        seen = client.get(SCHEDULE).json["revision"]
        assert 200 == client.patch(SCHEDULE, json={"cron": "0 * * * *"}, headers={"If-Match": given}).status_code
        assert seen == client.get(SCHEDULE).json["revision"]  # it is what it was: nobody's edit is lost by another


def test_with_a_tag_a_put_makes_nothing_new(client: FlaskClient) -> None:
    answer = client.put("/api/v1/schedules/another", json=BODY, headers={"If-Match": '"1"'})
    assert 404 == answer.status_code
    answer = client.post("/api/v1/endpoints", json={"name": "new", "verify": "github"}, headers={"If-Match": '"1"'})
    assert 422 == answer.status_code
    assert 404 == client.get("/api/v1/endpoints/new").status_code


def test_an_answer_to_a_change_has_the_tag_for_the_next_one(client: FlaskClient) -> None:
    tag = client.get(SCHEDULE).headers["ETag"]
    for cron in ("1 * * * *", "2 * * * *"):
        answer = client.patch(SCHEDULE, json={"cron": cron}, headers={"If-Match": tag})
        assert 200 == answer.status_code
        tag = answer.headers["ETag"]


def test_what_fires_a_schedule_is_no_edit_of_it(client: FlaskClient, durable: Celeriac) -> None:
    tag = client.get(SCHEDULE).headers["ETag"]
    Scheduler(durable).run_once(durable.database.now() + timedelta(hours=2))
    assert 1 == client.get(SCHEDULE).json["ticks"]
    assert 200 == client.post(f"{SCHEDULE}/pause", headers={"If-Match": tag}).status_code


def test_what_the_code_declares_again_is_an_edit_only_where_it_is_another(durable: Celeriac) -> None:
    def revisions() -> list[int]:
        (queue,) = [row for row in queues.every(durable.database, 60) if row.name == "api-tests.greet"]
        return [queue.revision, state_endpoints.get(durable.database, "plain")["revision"]]

    before = revisions()
    durable.register()
    assert before == revisions()
    declared = declaration_of(durable.endpoints["plain"])
    state_endpoints.register(durable.database, [type(declared)("plain", "github", None, declared.config)])
    assert before[1] != revisions()[1]


def test_an_endpoint_that_is_made_anew_is_another_one(client: FlaskClient) -> None:
    tag = client.get(ENDPOINT).headers["ETag"]
    assert 204 == client.delete(ENDPOINT).status_code
    client.post("/api/v1/endpoints", json={"name": "made", "verify": "github"})
    assert 412 == client.delete(ENDPOINT, headers={"If-Match": tag}).status_code


def test_of_racing_edits_with_one_tag_one_goes_through(client: FlaskClient) -> None:
    for path, change in ((SCHEDULE, {"cron": "{} * * * *"}), (QUEUE, {"limits": {"rate": "{}/m"}})):
        tag = client.get(path).headers["ETag"]

        def edit(n: int, path: str = path, change: Any = change, tag: str = tag) -> int:
            body = {k: v.format(n) if isinstance(v, str) else {"rate": f"{n}/m"} for k, v in change.items()}
            return client.application.test_client().patch(path, json=body, headers={"If-Match": tag}).status_code

        with ThreadPoolExecutor(6) as threads:
            answers = sorted(threads.map(edit, range(1, 7)))
        assert [200] + [412] * 5 == answers


def test_on_the_page_a_limit_that_was_changed_meanwhile_is_not_overwritten_and_what_was_entered_stays(
    client: FlaskClient,
) -> None:
    revision = client.get(QUEUE).json["revision"]
    assert f'name="revision" value="{revision}"' in client.get("/queues/api-tests.greet").text
    client.patch(QUEUE, json={"limits": {"concurrency": 7}})
    form = {"revision": revision, "concurrency": "5", "was-concurrency": ""}
    page = client.post("/queues/api-tests.greet/limit", data=form, follow_redirects=True)
    assert "somebody changed it since you opened this page" in page.text
    assert 'id="limit-concurrency" value="5"' in page.text
    assert 7 == client.get(QUEUE).json["limits"]["concurrency"]
    client.post("/queues/api-tests.greet/limit", data=form | {"revision": client.get(QUEUE).json["revision"]})
    assert 5 == client.get(QUEUE).json["limits"]["concurrency"]


def test_an_if_match_of_a_get_is_not_looked_at(client, start):
    id = start()
    assert 200 == client.get(f"/api/v1/runs/{id}", headers={"If-Match": '"another"'}).status_code
