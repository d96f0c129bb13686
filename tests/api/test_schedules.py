"""Schedules over HTTP and on the page."""

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac, Every
from celeriac.beat.scheduler import Scheduler
from celeriac.state import runs, services
from celeriac.state.ids import new_id
from celeriac.workflows.declaration import declare_schedules
from celeriac.workflows.workflow import Workflow

URL = "/api/v1/schedules"
DAILY = {"key": "report of c1", "workflow": "api-tests.greet", "payload": {"name": "Ada"}, "cron": "0 8 * * *"}
ONE = f"{URL}/report of c1"
POLYGLOT = """"'></script><script>alert(1)</script><img src=x onerror=alert(1)>{{191*7919}}"""


@pytest.fixture
def daily(client: FlaskClient) -> Any:
    answer = client.post(URL, json=DAILY | {"timezone": "Europe/Berlin", "external_id": "c1", "overlap": "skip"})
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def test_a_schedule_is_made_and_shown_with_its_next_times(client: FlaskClient, daily: Any) -> None:
    assert ("cron", "0 8 * * *", "Europe/Berlin", "skip") == tuple(
        daily[name] for name in ("kind", "expression", "timezone", "overlap")
    )
    shown = client.get(ONE).get_json()
    assert daily == {name: shown[name] for name in daily}
    assert [] == shown["newest_ticks"]
    first = shown["next"][0]
    assert daily["next_due_at"] == first["due_at"]
    assert "08:00:00 CE" in first["local"]
    assert first["in"].startswith("in ")


def test_made_again_it_is_the_same_and_in_other_words_it_is_refused(client: FlaskClient) -> None:
    first, again = client.post(URL, json=DAILY), client.post(URL, json=DAILY)
    assert (201, first.get_json()) == (again.status_code, again.get_json())
    other = client.post(URL, json=DAILY | {"cron": "0 9 * * *"})
    assert (409, "urn:celeriac:problem:schedule-conflict") == (other.status_code, other.get_json()["type"])


@pytest.mark.parametrize(
    ("change", "pointer", "told"),
    [
        ({"cron": "0 0 1--100000000 * *"}, "/cron", "not five cron fields"),
        ({"cron": None, "every": 0.5}, "/every", "1 second"),
        ({"every": 60}, "/cron", "one of cron"),
        ({"cron": None, "every": "60"}, "/every", "1 second"),
        ({"cron": 5}, "/cron", "not five cron fields"),
        ({"timezone": "Europe/Atlantis"}, "/timezone", "IANA"),
        ({"timezone": 5}, "/timezone", "IANA"),
        ({"overlap": "never"}, "/overlap", "choose one of allow"),
        ({"catch_up": ["all"]}, "/catch_up", "choose one of skip"),
        ({"jitter": -1}, "/jitter", "seconds"),
        ({"start": "tomorrow"}, "/start", "ISO 8601"),
        ({"start": "2030-01-02T00:00:00Z", "end": "2030-01-01T00:00:00Z"}, "/cron", "before it starts"),
        ({"payload": []}, "/payload", "an object"),
        ({"payload": {}}, "/payload/name", "required"),
        ({"payload": {"name": "\0"}}, "/payload", "NUL"),
        ({"workflow": 5}, "/workflow", "a string"),
        ({"key": ""}, "/key", "printable"),
        ({"key": None}, "/key", "printable"),
        ({"croon": "x"}, "/croon", "did you mean 'cron'?"),
    ],
)
def test_what_cannot_be_is_refused_with_a_pointer(client: FlaskClient, change: Any, pointer: str, told: str) -> None:
    answer = client.post(URL, json=DAILY | change)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.get_json()["errors"]
    assert pointer == fault["pointer"]
    assert told in fault["detail"]
    assert [] == client.get(URL).get_json()["schedules"]


def test_an_unknown_workflow_or_option_or_schedule_is_told(client: FlaskClient) -> None:
    assert 404 == client.post(URL, json=DAILY | {"workflow": "api-tests.gret"}).status_code
    assert 400 == client.post(URL, json=DAILY | {"options": {"priorty": 1}}).status_code
    for path in ("", "/next", "/ticks"):
        answer = client.get(f"{URL}/nobody{path}")
        assert (404, "urn:celeriac:problem:unknown-schedule") == (answer.status_code, answer.get_json()["type"])
    for verb in ("pause", "resume", "run"):
        assert 404 == client.post(f"{URL}/nobody/{verb}").status_code


def test_it_is_changed_in_part_or_whole(client: FlaskClient, daily: Any) -> None:
    changed = client.patch(ONE, json={"payload": {"name": "Bob"}, "jitter": 5}).get_json()
    expected = ({"name": "Bob"}, 5, "skip", daily["next_due_at"], "c1")
    assert expected == tuple(changed[n] for n in ("payload", "jitter", "overlap", "next_due_at", "external_id"))
    changed = client.patch(ONE, json={"every": 60}).get_json()
    assert ("every", "60", "skip") == (changed["kind"], changed["expression"], changed["overlap"])
    put = client.put(ONE, json={name: value for name, value in DAILY.items() if name != "key"}).get_json()
    assert ("cron", 0, "allow", None) == (put["kind"], put["jitter"], put["overlap"], put["external_id"])
    made = client.put(f"{URL}/another", json={"workflow": "api-tests.anything", "every": 60})
    assert (201, "another") == (made.status_code, made.get_json()["key"])
    assert 422 == client.patch(ONE, json={"overlap": "never"}).status_code


def test_it_is_paused_with_a_note_resumed_and_deleted(client: FlaskClient, daily: Any) -> None:
    paused = client.post(f"{ONE}/pause", json={"note": "on holiday"}).get_json()
    assert (True, "api", "on holiday", None) == tuple(
        paused[name] for name in ("is_paused", "paused_by", "pause_note", "next_fire_at")
    )
    assert [paused["key"]] == [each["key"] for each in client.get(f"{URL}?paused=true").get_json()["schedules"]]
    assert client.post(f"{ONE}/resume").get_json()["next_fire_at"] == daily["next_due_at"]
    assert 200 == client.delete(ONE).status_code
    assert 404 == client.delete(ONE).status_code


def test_by_hand_it_starts_a_run(client: FlaskClient, daily: Any, durable: Celeriac) -> None:
    answer = client.post(f"{ONE}/run")
    assert 202 == answer.status_code
    (run,) = runs.find(durable.database, runs.Filter(source="schedule"), 10)
    assert f"run_{run.id.hex}" == answer.get_json()["run"]["id"]
    (tick,) = client.get(f"{ONE}/ticks").get_json()["ticks"]
    assert ("started", "by hand", "api") == (tick["outcome"], tick["cause"], tick["actor"])


def test_a_backfill_is_told_tried_and_done_once(client: FlaskClient, daily: Any) -> None:
    range_ = {"start": "2026-03-28T00:00:00Z", "end": "2026-03-30T12:00:00Z"}
    tried = client.post(f"{ONE}/backfill", json=range_ | {"dry_run": True}).get_json()
    assert ["2026-03-28T07:00:00", "2026-03-29T06:00:00", "2026-03-30T06:00:00"] == [at[:19] for at in tried["due"]]
    assert (3, 0) == tuple(client.post(f"{ONE}/backfill", json=range_).get_json()["started"] for _ in range(2))
    assert 422 == client.post(f"{ONE}/backfill", json={"start": "2026-03-28T00:00:00Z"}).status_code
    assert 400 == client.post(f"{ONE}/backfill", json=range_ | {"end": "2999-01-01T00:00:00Z"}).status_code


def test_next_times_come_in_any_zone(client: FlaskClient, daily: Any) -> None:
    told = client.get(f"{ONE}/next?n=3&timezone=Asia/Tokyo").get_json()["next"]
    assert 3 == len(told)
    assert all(each["local"].endswith("JST") for each in told)
    assert 400 == client.get(f"{ONE}/next?n=0").status_code
    assert 400 == client.get(f"{ONE}/next?timezone=Asia/Atlantis").status_code


def test_the_list_has_filters_and_a_cursor(client: FlaskClient) -> None:
    for n in range(7):
        body = {"key": f"c{n}", "workflow": "api-tests.anything", "every": 60 + n, "external_id": f"x{n % 2}"}
        assert 201 == client.post(URL, json=body).status_code
    page = client.get(f"{URL}?limit=4").get_json()
    rest = client.get(f"{URL}?limit=4&cursor={page['next_cursor']}").get_json()
    assert [f"c{n}" for n in range(7)] == [each["key"] for each in page["schedules"] + rest["schedules"]]
    assert rest["next_cursor"] is None
    assert 3 == len(client.get(f"{URL}?external_id=x1").get_json()["schedules"])
    assert ["c3"] == [each["key"] for each in client.get(f"{URL}?prefix=c3").get_json()["schedules"]]
    for query in ("limit=0", "cursor=x", "paused=maybe", "status=on", "workflow=%00"):
        assert 400 == client.get(f"{URL}?{query}").status_code


def test_what_beat_did_is_listed(client: FlaskClient, durable: Celeriac) -> None:
    record = {"name": "scheduler", "interval_seconds": 60, "passes": 3, "totals": {"ticks": 7}, "counts": {"ticks": 2}}
    record |= {"did_at": None, "passed_at": None, "trouble": "Redis does not answer"}
    services.report(durable.database, new_id(), "host:1", [record])
    (told,) = client.get("/api/v1/services").get_json()["services"]
    assert ("host:1", {"ticks": 2}, 7) == (told["beat"], told["counts"], told["totals"]["ticks"])
    page = client.get("/schedules").text
    assert "ticks 2" in page
    assert 'title="Redis does not answer"' in page


def test_prometheus_reads_what_beat_did(client: FlaskClient, durable: Celeriac) -> None:
    record = {"name": "scheduler", "interval_seconds": 60, "passes": 3, "totals": {"ticks": 7}, "counts": {"ticks": 2}}
    record |= {"did_at": None, "passed_at": "2026-01-01T00:00:00Z", "trouble": None}
    services.report(durable.database, new_id(), "host:1", [record])
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    labels = 'beat="host:1",service="scheduler"'
    assert f"celeriac_beat_passes_total{{{labels}}} 3" in lines
    assert f'celeriac_beat_done_total{{{labels},count="ticks"}} 7' in lines
    assert f'celeriac_beat_done_last{{{labels},count="ticks"}} 2' in lines
    assert f"celeriac_beat_passed_timestamp_seconds{{{labels}}} 1767225600.000" in lines
    assert f"celeriac_beat_in_trouble{{{labels}}} 0" in lines


class TestPage:
    def test_it_lists_shows_pauses_fires_and_deletes(self, client: FlaskClient, daily: Any) -> None:
        assert "report of c1" in client.get("/schedules").text
        assert "report of c1" in client.get("/schedules?external_id=c1").text
        assert "No such schedules" in client.get("/schedules?external_id=c2").text
        paused = client.post("/schedules/report of c1/pause", data={"note": "why"}, follow_redirects=True).text
        assert "it does not fire until it is resumed" in paused
        assert "why" in paused
        assert "Resumed." in client.post("/schedules/report of c1/resume", follow_redirects=True).text
        assert "Started by hand" in client.post("/schedules/report of c1/run", follow_redirects=True).text
        shown = client.get("/schedules/report of c1").text
        assert "by hand by page" in shown
        assert "Deleted." in client.post("/schedules/report of c1/delete", follow_redirects=True).text
        assert 404 == client.get("/schedules/report of c1").status_code

    def test_what_refuses_a_run_by_hand_is_shown(self, client: FlaskClient, daily: Any, durable: Celeriac) -> None:
        durable.register()
        durable.queue("api-tests.greet").drain()
        answer = client.post("/schedules/report of c1/run")
        assert 409 == answer.status_code
        assert "is being drained" in answer.text

    def test_declared_ones_stand_with_their_workflow_and_cannot_be_deleted(
        self, client: FlaskClient, durable: Celeriac
    ) -> None:
        durable.register()
        now = durable.database.now()
        declare_schedules(durable, [Workflow(lambda: None, name="api-tests.greet", schedule=Every(300))], now)
        assert "every 5 min" in client.get("/workflows").text
        key = "api-tests.greet: every 300 UTC"
        assert 'id="delete"' not in client.get(f"/schedules/{key}").text
        assert 409 == client.delete(f"{URL}/{key}").status_code

    def test_what_people_wrote_stays_text(self, client: FlaskClient, durable: Celeriac) -> None:
        mine = durable.schedule(POLYGLOT)
        row = mine.create("api-tests.anything", Every(60), {"x": POLYGLOT}, external_id=POLYGLOT)
        mine.pause(POLYGLOT, POLYGLOT)
        mine.resume()
        Scheduler(durable).run_once(row.next_due_at + timedelta(seconds=1))
        mine.pause(POLYGLOT, POLYGLOT)
        for answer in (
            client.get("/schedules"),
            client.get(f"/schedules/{client.get(URL).get_json()['schedules'][0]['key']}"),
        ):
            assert "<script>alert" not in answer.text
            assert "<img src=x" not in answer.text
            assert str(191 * 7919) not in answer.text
