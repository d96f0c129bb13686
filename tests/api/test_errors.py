"""Failed runs, grouped by what went wrong."""

from datetime import timedelta
from typing import Any

import pytest

from celeriac.beat import grouper as grouper_module
from celeriac.beat.grouper import Grouper
from celeriac.state import error_groups, measures
from celeriac.state.ids import parse
from tests.api.test_page import POLYGLOT, assert_is_inert, page, post


@pytest.fixture
def grouped(durable):
    """A pass of beat's grouper, when all that has ended so far is settled."""
    grouper = Grouper(durable)
    return lambda: grouper.run_once(durable.database.now() + timedelta(seconds=measures.SETTLED_SECONDS))


@pytest.fixture
def fail(durable, start, worker):
    """Starts runs that fail with these messages, in a version of the code."""

    def fail(*messages: str, version: str = "v1") -> list[str]:
        ids = [start() for _ in messages]
        for id, message in zip(ids, messages, strict=True):
            worker.fail(id, message)
            durable.database.all(
                "update celeriac.runs set version = %(v)s where id = %(id)s", v=version, id=parse("run", id)
            )
        return ids

    return fail


def errors(client, **query: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/errors", query_string=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.get_json()["errors"]
    return found


def test_runs_that_fail_for_one_reason_are_one_group_that_counts_them_once(client, grouped, fail):
    runs = fail("no customer 1", "the card was declined", "no customer 2")
    assert {"failed": 3, "groups": 2} == grouped()
    assert {"failed": 0, "groups": 0} == grouped()
    customer, card = errors(client)
    assert ("no customer 2", 2, "open") == (customer["message"], customer["count"], customer["state"])
    assert (["v1"], runs[2]) == (customer["versions"], customer["last_run_id"])
    assert ("the card was declined", 1, "ValueError") == (card["message"], card["count"], card["type"])
    assert customer["first_seen_at"] < customer["last_seen_at"]
    fail("no customer 3")
    grouped()
    assert [3, 1] == [each["count"] for each in errors(client)]


def test_what_completes_or_is_cancelled_is_no_error(client, grouped, start, worker):
    worker.complete(start())
    client.post(f"/api/v1/runs/{start()}/cancel")
    assert {"failed": 0, "groups": 0} == grouped()


def test_a_resolved_error_that_comes_back_in_another_version_is_open_again(client, grouped, fail):
    fail("boom")
    grouped()
    (error,) = errors(client)
    resolved = client.post(f"/api/v1/errors/{error['id']}/resolve").get_json()
    assert ("resolved", "api") == (resolved["state"], resolved["moved_by"])
    assert [] == errors(client, state="open")
    fail("boom")  # the old code is still there
    grouped()
    assert ["resolved"] == [each["state"] for each in errors(client)]
    fail("boom", version="v2")
    grouped()
    (error,) = errors(client)
    assert ("open", 3, ["v1", "v2"]) == (error["state"], error["count"], error["versions"])
    assert error["regressed_at"] == error["last_seen_at"]


def test_an_ignored_error_stays_ignored_until_it_is_opened_by_hand(client, grouped, fail):
    fail("noise")
    grouped()
    (error,) = errors(client)
    client.post(f"/api/v1/errors/{error['id']}/ignore")
    fail("noise", version="v2")
    grouped()
    assert [("ignored", 2)] == [(each["state"], each["count"]) for each in errors(client)]
    assert "open" == client.post(f"/api/v1/errors/{error['id']}/reopen").get_json()["state"]


def test_the_list_can_be_narrowed_and_comes_page_by_page(client, grouped, fail):
    fail("a", "b", "c")
    grouped()
    first = client.get("/api/v1/errors?limit=2").get_json()
    second = client.get("/api/v1/errors", query_string={"limit": 2, "cursor": first["next_cursor"]}).get_json()
    assert [["c", "b"], ["a"]] == [[each["message"] for each in page["errors"]] for page in (first, second)]
    assert second["next_cursor"] is None
    assert [] == errors(client, workflow="another")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/errors?state=lost", 400),
        ("/api/v1/errors?cursor=x", 400),
        ("/api/v1/errors?limit=0", 400),
        ("/api/v1/errors?q=x", 400),
        ("/api/v1/errors/err_" + "0" * 32, 404),
        ("/api/v1/errors/x", 404),
    ],
)
def test_what_cannot_be_asked_for_is_refused(client, path, status):
    assert status == client.get(path).status_code


def test_a_backlog_of_failures_is_worked_off_and_each_is_counted_once(client, grouped, fail, durable, monkeypatch):
    monkeypatch.setattr(error_groups, "BATCH", 2)
    fail(*(f"boom {n}" for n in range(5)))
    found = [grouped()["failed"] for _ in range(4)]
    assert [2, 2, 1, 0] == found
    assert [5] == [each["count"] for each in errors(client)]


def test_messages_that_are_others_each_time_do_not_begin_a_group_for_each_run(
    client, grouped, fail, durable, monkeypatch
):
    monkeypatch.setattr(grouper_module, "GROUPS_LIMIT", 3)
    words = ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch")
    fail(*(f"no {word} here" for word in words[:5]))
    grouped()
    fail(*(f"no {word} here" for word in words[4:]), "no ash here", version="v2")
    grouped()
    found = {each["message"]: (each["count"], each["versions"]) for each in errors(client)}
    assert {
        "no ash here": (2, ["v1", "v2"]),
        "no birch here": (1, ["v1"]),
        "no cedar here": (1, ["v1"]),
        "(one of many messages) no larch here": (5, ["v1", "v2"]),
    } == found


def test_a_failure_that_is_committed_late_is_grouped_when_it_is(client, database, grouped, start, worker):
    """Else it would be in no group, and no alert would tell of it."""
    run = worker.claim(start())
    with database.transaction() as slow:
        slow.all(
            "update celeriac.runs set status = 'failed', finished_at = now(), error = %(error)s, worker_id = null, "
            "worker_pid = null where id = %(id)s",
            id=run.id,
            error='{"type": "ValueError", "message": "boom"}',
        )
        assert {"failed": 0, "groups": 0} == grouped()
    assert {"failed": 1, "groups": 1} == grouped()
    assert ["boom"] == [each["message"] for each in errors(client)]


def test_a_second_grouper_passes_over_what_one_is_grouping(client, grouped, fail, durable):
    fail("boom")
    now = durable.database.now() + timedelta(seconds=measures.SETTLED_SECONDS)
    with durable.database.transaction() as first:
        assert 1 == len(error_groups.take_failed(first, now))
        assert {"failed": 0, "groups": 0} == Grouper(durable).run_once(now)


def test_the_page_shows_the_open_groups_and_moves_them(client, grouped, fail):
    fail("the card was declined")
    grouped()
    shown = page(client, "/errors")
    assert "the card was declined" in shown.text
    (error,) = errors(client)
    assert "Resolved" in post(client, f"/errors/{error['id']}/resolve").text
    assert "the card was declined" not in page(client, "/errors").text
    assert "the card was declined" in page(client, "/errors?state=resolved").text


def test_a_group_leads_to_the_runs_like_it_and_to_the_question_whether_to_retry_them(client, grouped, fail):
    fail("the card was declined")
    grouped()
    shown = page(client, "/errors")
    (runs,) = [href for href in shown.values("href", "a") if href.startswith("/runs?q=")]
    (retry,) = [href for href in shown.values("href", "a") if href.startswith("/bulk/new")]
    assert "the card was declined" in page(client, runs).text
    assert "Retry 1 run?" in " ".join(page(client, retry).text.split())


def test_html_in_an_error_stays_text_on_the_page_of_errors(client, grouped, fail):
    fail(POLYGLOT)
    grouped()
    shown = page(client, "/errors")
    assert_is_inert(shown)
    assert "<script>alert(1)" in shown.text
