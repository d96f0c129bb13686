"""The commands on a real database: what they print, and how they exit (0 done, 1 failed, 2 usage)."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from celeriac import Celeriac, workflow
from celeriac.deploy.cli import COMMANDS, celery_command, commands


@workflow(name="cli.greet")
def greet(name: str) -> str:
    return f"Hello {name}"


@pytest.fixture
def run(durable: Celeriac):
    """`celery -A shop celeriac ...`, in this process."""
    durable.register()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(celery_command, arguments, obj=SimpleNamespace(app=durable.app))

    return run


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


def test_an_app_that_is_not_there_is_a_usage_error():
    refused = CliRunner().invoke(commands, ["-A", "no_such_shop", "runs"])
    assert (2, True) == (refused.exit_code, "No module named 'no_such_shop'" in refused.output)
