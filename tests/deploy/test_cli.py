"""The commands on a real database: what they print, and how they exit (0 done, 1 failed, 2 usage)."""

import json
from threading import Thread

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from celeriac import Every, Queue, workflow
from celeriac.api.access import passwords
from celeriac.deploy.cli import COMMANDS, commands
from celeriac.deploy.doctor import examine
from celeriac.state import workers
from celeriac.state.ids import new_id, public
from celeriac.state.workers import Worker


@workflow(name="cli.greet")
def greet(name: str) -> str:
    return f"Hello {name}"


@workflow(name="cli.sync", queue=Queue("cli-crm", concurrency=10, rate="100/m"), schedule=Every(seconds=3600))
def sync() -> None: ...


def test_every_command_says_what_it_does():
    for name in COMMANDS:
        told = CliRunner().invoke(commands, [name, "--help"])
        assert 0 == told.exit_code
        assert len(told.output.splitlines()) > 4


def test_a_trigger_starts_a_run_that_runs_lists_and_shows(run):
    started = run("trigger", "cli.greet", '{"name": "Ada"}', "--json")
    assert 0 == started.exit_code
    (document,) = json.loads(started.output)
    assert ("queued", {"name": "Ada"}) == (document["status"], document["payload"])
    assert [document["id"]] == [each["id"] for each in json.loads(run("runs", "--json").output)]
    assert document["id"] in run("runs", "show", document["id"]).output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("trigger", "cli.greet", "{"), 2, "the payload is not JSON"),
        (("trigger", "cli.greet", "[]"), 2, "a JSON object"),
        (("trigger", "cli.gret", "{}"), 2, "Did you mean 'cli.greet'?"),
        (("trigger", "cli.greet", "{}"), 1, "/name: this parameter is required"),
        (("trigger", "cli.greet", '{"name": "x"}', "--wait", "0.1"), 1, "is still queued"),
        (("runs", "show"), 2, "which run?"),
        (("runs", "show", "run_x"), 2, "not a run id"),
        (("runs", "cancel", "run_" + "0" * 32), 1, "there is no run"),
        (("runs", "--status", "lost"), 2, "'lost' is not one of"),
        (("runs", "why"), 2, "which run?"),
        (("runs", "why", "run_" + "0" * 32), 1, "there is no run"),
        (("runs", "ls", "--in", "5"), 2, "No such option"),
        (("runs", "shwo"), 2, "No such command 'shwo'"),
        (("runs", "reschedule", "run_" + "0" * 32, "--at", "soon"), 2, "ISO 8601"),
        (("trigger", "cli.greet", '{"name": "x"}', "--queue", "cli-crn"), 2, "Did you mean 'cli-crm'?"),
        (("trigger", "cli.greet", '{"name": "x"}', "--countdown", "nan"), 2, "out of range"),
        (("queues", "ls", "cli-crm"), 2, "queues show cli-crm"),
        (("queues", "pause"), 2, "which queue?"),
        (("queues", "pause", "cli-crn"), 2, "Did you mean 'cli-crm'?"),
        (("queues", "show", "cli-crn"), 2, "Did you mean 'cli-crm'?"),
        (("queues", "pause", "cli-crm", "rate"), 2, "Only limit and reset"),
        (("queues", "limit", "cli-crm"), 2, "which limit"),
        (("queues", "limit", "cli-crm", "rate"), 2, "write rate=VALUE"),
        (("queues", "limit", "cli-crm", "concurency=5"), 2, "did you mean 'concurrency'?"),
        (("queues", "limit", "cli-crm", "note=5"), 2, "'note' is no limit"),
        (("queues", "limit", "cli-crm", "concurrency=many"), 2, "whole number"),
        (("queues", "limit", "cli-crm", "rate=fast"), 2, "100/m"),
        (("queues", "limit", "cli-crm", "weights={"), 2, "an object"),
        (("queues", "reset", "cli-crm", "rat"), 2, "did you mean 'rate'?"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(run, arguments, exit_code, told):
    refused = run(*arguments)
    assert told in refused.output
    assert exit_code == refused.exit_code


def test_a_run_is_cancelled_once(run):
    (document,) = json.loads(run("trigger", "cli.greet", '{"name": "Ada"}', "--json").output)
    assert "cancelled" in run("runs", "cancel", document["id"]).output
    again = run("runs", "cancel", document["id"])
    assert (1, True) == (again.exit_code, "it is cancelled" in again.output)


def test_the_doctor_finds_that_no_worker_lives(run):
    found = {each["check"]: each for each in json.loads(run("doctor", "--json").output)}
    assert "ok" == found["database"]["verdict"] == found["migrations"]["verdict"] == found["redis"]["verdict"]
    assert "warning" == found["workers"]["verdict"]
    assert "start `celeriac -A ... worker`" in found["workers"]["advice"]


@pytest.mark.parametrize(
    ("settings", "verdict", "told"),
    [
        ({}, "ok", "only this machine is served"),
        ({"public_url": "http://localhost:8484"}, "ok", "only this machine is served"),
        ({"public_url": "https://runs.invalid"}, "warning", "and not https://runs.invalid: set CELERIAC_LOGIN"),
        ({"api_key": "root", "public_url": "https://runs.invalid"}, "ok", "by key"),
        ({"login": "basic", "public_url": "http://runs.invalid"}, "warning", "use https"),
        ({"login": "basic", "read_only": True}, "ok", "by basic, and read-only"),
        ({"login": "none", "api_key": "root"}, "failed", "take one of the two away"),
        ({"login": "bsic"}, "failed", "did you mean 'basic'?"),
    ],
)
def test_the_doctor_looks_at_who_may_come_in(make_durable, settings, verdict, told):
    durable = make_durable(**{f"celeriac_{name}": value for name, value in settings.items()})
    (found,) = (each for each in examine(durable) if each.check == "login")
    assert (verdict, True) == (found.verdict, told in found.advice), found


def test_the_doctor_finds_an_api_that_answers_everybody(make_durable):
    server = make_server("127.0.0.1", 0, Response("{}"), threaded=True)  # say, a proxy that calls it by localhost
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        durable = make_durable(celeriac_public_url=f"http://127.0.0.1:{server.server_port}", celeriac_api_key="root")
        (found,) = (each for each in examine(durable) if each.check == "login")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert ("failed", True) == (found.verdict, "answers whoever asks" in found.advice)


def test_a_user_is_printed_with_a_hash_and_not_with_the_password():
    made = CliRunner().invoke(commands, ["user", "ada", "--role", "admin", "--stdin"], input="correct horse\n")
    asked = CliRunner().invoke(commands, ["user", "otto"], input="correct horse\ncorrect horse\n")
    users = passwords.parsed(f"{made.stdout},{asked.stdout}")
    assert {"ada": "admin", "otto": "operator"} == {user.name: user.role for user in users.values()}
    assert passwords.verified(users, "ada", "correct horse")
    assert not passwords.verified(users, "otto", "wrong horse")
    assert "correct horse" not in made.output + asked.output


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        (["a:b"], "correct horse", "is no user name"),
        (["ada"], "short", "8 to 1000 characters"),
        (["ada", "--role", "boss"], "correct horse", "'boss' is not one of"),
    ],
)
def test_a_user_that_cannot_be_is_a_usage_error(arguments, given, told):
    refused = CliRunner().invoke(commands, ["user", *arguments, "--stdin"], input=given)
    assert (2, True) == (refused.exit_code, told in refused.output)


@pytest.mark.parametrize("settings", [{}, {"login": "none"}])
def test_an_api_without_a_login_listens_to_this_machine_alone(run, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setenv(f"CELERIAC_{name.upper()}", value)
    refused = run("api", "--host", "0.0.0.0")
    assert (2, True) == (refused.exit_code, "set CELERIAC_LOGIN, or CELERIAC_API_KEY, first" in refused.output)


def test_an_app_that_is_not_there_is_a_usage_error():
    refused = CliRunner().invoke(commands, ["-A", "no_such_shop", "runs"])
    assert (2, True) == (refused.exit_code, "No module named 'no_such_shop'" in refused.output)


def test_the_queues_are_listed_with_what_holds_and_who_paused_them(run):
    run("queues", "pause", "cli-crm", "--note", "the CRM is down")
    listed = run("queues")
    assert 0 == listed.exit_code
    assert ["name", "queued", "slots", "limits", "state"] == listed.output.splitlines()[0].split()
    (line,) = (line for line in listed.output.splitlines() if line.startswith("cli-crm"))
    assert "10 at once, 100/m" in line
    assert line.endswith("paused by cli: the CRM is down")
    (document,) = (each for each in json.loads(run("queues", "--json").output) if each["name"] == "cli-crm")
    assert (True, "cli", 10) == (document["is_paused"], document["paused_by"], document["limits"]["concurrency"])


def test_a_queue_is_paused_resumed_and_drained(run, durable):
    for action, told, row in (("pause", "paused by cli", (True, False)), ("drain", "draining by cli", (True, True))):
        done = run("queues", action, "cli-crm")
        assert (0, True) == (done.exit_code, told in done.output)
        found = durable.queue("cli-crm").row
        assert row == (found.paused_at is not None, found.draining_at is not None)
    refused = run("trigger", "cli.sync")
    assert (1, True) == (refused.exit_code, "celeriac queues resume cli-crm" in refused.output)
    assert "open" in run("queues", "resume", "cli-crm").output
    assert 0 == run("trigger", "cli.sync").exit_code


def test_limits_are_overridden_shown_beside_the_code_and_reset(run):
    weights = 'weights={"acme": 3}'
    limited = run("queues", "limit", "cli-crm", "concurrency=20", "rate=none", weights, "--note", "sale", "--json")
    assert {"concurrency": 20, "rate": None, "weights": {"acme": 3}} == json.loads(limited.output)["overrides"]
    shown = run("queues", "show", "cli-crm").output
    assert "20 at once, acme ×3 (code: 10 at once, 100/m)" in shown
    assert ["concurrency", "20", "10", "yes"] in [line.split() for line in shown.splitlines()]
    assert ["limit", "cli", "sale"] in [line.split()[1:4] for line in shown.splitlines()]
    one = json.loads(run("queues", "reset", "cli-crm", "rate", "--json").output)
    assert {"concurrency": 20, "weights": {"acme": 3}} == one["overrides"]
    assert {} == json.loads(run("queues", "reset", "cli-crm", "--json").output)["overrides"]


def test_a_run_says_why_it_waits_in_words_and_gate_by_gate(run):
    (document,) = json.loads(run("trigger", "cli.sync", "--json").output)
    run("queues", "pause", "cli-crm", "--note", "the CRM is down")
    summary, _, head, paused, worker, *_ = run("runs", "why", document["id"]).output.splitlines()
    assert summary.startswith("queue 'cli-crm' is paused by cli since ")
    assert ["gate", "open", "detail"] == head.split()
    assert (["paused", "no"], ["worker", "no"]) == (paused.split()[:2], worker.split()[:2])
    found = json.loads(run("runs", "why", document["id"], "--json").output)
    assert (document["id"], summary) == (found["run_id"], found["summary"])
    assert ["paused", "worker"] == [gate["gate"] for gate in found["gates"]][:2]


def test_a_delayed_run_is_given_another_time_and_started_now(run):
    (document,) = json.loads(run("trigger", "cli.sync", "--countdown", "3600", "--json").output)
    when = run("runs", "reschedule", document["id"])
    assert (2, True) == (when.exit_code, "--in SECONDS" in when.output)
    (later,) = json.loads(run("runs", "reschedule", document["id"], "--at", "2050-01-31T12:00:00", "--json").output)
    assert ("delayed", "2050-01-31T12:00:00.000000Z") == (later["status"], later["run_at"])
    (now,) = json.loads(run("runs", "reschedule", document["id"], "--in", "0", "--json").output)
    assert "queued" == now["status"]
    late = run("runs", "reschedule", document["id"], "--in", "5")
    assert (1, True) == (late.exit_code, "it is queued, not delayed" in late.output)


def test_a_trigger_takes_queue_key_and_priority(run):
    options = ("--queue", "cli-crm", "--concurrency-key", "acme", "--priority", "60")
    (document,) = json.loads(run("trigger", "cli.greet", '{"name": "Ada"}', *options, "--json").output)
    assert ("cli-crm", "acme", 60) == tuple(document[name] for name in ("queue", "concurrency_key", "priority"))


def test_workers_and_schedules_are_the_documents_of_the_api(run, durable):
    worker = Worker(new_id(), "celery@host", 1, "prefork", 4, ["cli.sync"])
    workers.register(durable.database, worker)
    (document,) = json.loads(run("workers", "--json").output)
    assert (public("wrk", worker.id), 4, 0) == tuple(document[name] for name in ("id", "slots", "busy"))
    assert "T" in document["heartbeat_at"]
    (schedule,) = (each for each in json.loads(run("schedules", "--json").output) if each["workflow"] == "cli.sync")
    assert schedule["id"].startswith("sch_")
    assert schedule["next_due_at"].endswith("Z")
    assert "celery@host" in run("workers").output


def test_a_schedule_is_made_changed_paused_fired_and_deleted(run):
    made = run("schedules", "create", "c1", "--workflow", "cli.greet", "--payload", '{"name": "Ada"}', "--cron",
               "0 8 * * *", "--timezone", "Europe/Berlin", "--overlap", "skip", "--json")  # fmt: skip
    assert 0 == made.exit_code, made.output
    assert ("cron", "skip", "cli") == tuple(json.loads(made.output)[n] for n in ("kind", "overlap", "created_by"))
    changed = json.loads(run("schedules", "update", "c1", "--every", "60", "--json").output)
    assert ("60", "skip", {"name": "Ada"}) == tuple(changed[n] for n in ("expression", "overlap", "payload"))
    paused = run("schedules", "pause", "c1", "--note", "on holiday").output
    assert "paused by cli: on holiday" in paused
    assert "every 1 min 0 s" in paused or "every 1 min" in paused
    assert "on" in run("schedules", "resume", "c1").output.split()
    assert json.loads(run("schedules", "run", "c1", "--json").output)["run"].startswith("run_")
    shown = json.loads(run("schedules", "show", "c1", "--json").output)
    assert ["by hand"] == [tick["cause"] for tick in shown["newest_ticks"]]
    assert "by hand" in run("schedules", "show", "c1").output
    assert 3 == len(json.loads(run("schedules", "next", "c1", "-n", "3", "--timezone", "Asia/Tokyo", "--json").output))
    assert 0 == run("schedules", "delete", "c1").exit_code
    assert 2 == run("schedules", "show", "c1").exit_code


def test_a_backfill_is_tried_and_done(run):
    run("schedules", "create", "c1", "--workflow", "cli.greet", "--payload", '{"name": "Ada"}', "--cron", "0 8 * * *")
    range_ = ("--start", "2026-01-01", "--end", "2026-01-04")
    assert "3 ticks have not started" in run("schedules", "backfill", "c1", *range_, "--dry-run").output
    assert "3 of 3 ticks started" in run("schedules", "backfill", "c1", *range_).output
    assert [] == json.loads(run("schedules", "backfill", "c1", *range_, "--json").output)["due"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show",), "which schedule?"),
        (("ls", "c1"), "schedules show"),
        (("create", "c1", "--cron", "* * * * *"), "--workflow NAME"),
        (("create", "c1", "--workflow", "cli.greet"), "--cron"),
        (("create", "c1", "--workflow", "cli.gret", "--every", "60"), "Did you mean 'cli.greet'?"),
        (("create", "c1", "--workflow", "cli.greet", "--every", "60", "--payload", "{"), "not JSON"),
        (("create", "c1", "--workflow", "cli.greet", "--every", "60", "--start", "soon"), "ISO 8601"),
        (("backfill", "c1"), "--start and --end"),
        (("pause", "nobody"), "there is no schedule 'nobody'"),
    ],
)
def test_what_cannot_be_done_with_a_schedule_is_told(run, arguments, told):
    answer = run("schedules", *arguments)
    assert 2 == answer.exit_code
    assert told in answer.output
