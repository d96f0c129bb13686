"""`celeriac logs`: of one run, as it comes, and of all."""

import json
from typing import Any

import pytest

from celeriac import Celeriac, Run, workflow
from celeriac.state import logs
from celeriac.state.logs import NewLine


@workflow(name="cli-logs.greet")
def greet(name: str) -> str:
    return f"Hello {name}"


def test_logs_shows_the_lines_of_a_run_and_of_all_and_no_control_characters(run, durable):
    started = greet.delay("Ada")
    _say(durable, started, "red \x1b[31m\nalarm", level=40, fields='{"n": 1}')
    _say(durable, started, "fine", step="pack", step_attempt=1)
    shown = run("logs", started.id).output
    assert "\x1b" not in shown
    assert 'ERROR   –  red \\x1b[31m\nalarm {"n": 1}' in shown
    assert "INFO    pack  fine" in shown
    assert ["fine"] == [
        each["message"] for each in json.loads(run("logs", started.id, "--step", "pack", "--json").output)
    ]
    assert "fine" not in run("logs", started.id, "--level", "warning").output
    assert f"cli-logs.greet {started.id}" in run("logs", "--workflow", "cli-logs.greet", "--text", "ALARM").output


def test_logs_follows_a_run_to_its_end(run, durable):
    started = greet.delay("Ada")
    _say(durable, started, "queued up")
    started.cancel()
    shown = run("logs", "-f", started.id, "--json")
    assert 0 == shown.exit_code
    assert "queued up" == json.loads(shown.output.splitlines()[0])["message"]
    assert "is cancelled" in shown.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("logs", "-f"), "which run?"),
        (("logs", "--level", "loud"), "choose one of debug"),
        (("logs", "run_x"), "not a run id"),
        (("logs", "run_" + "0" * 32, "--text", "x"), "leave RUN_ID out"),
    ],
)
def test_logs_refuses_what_it_cannot_do(run, arguments, told):
    shown = run(*arguments)
    assert 2 == shown.exit_code
    assert told in shown.output


def _say(durable: Celeriac, started: Run, message: str, **members: Any) -> None:
    given = {"step": None, "step_attempt": None, "level": 20, "fields": None} | members
    line = NewLine(
        at=None,
        run_id=started.row.id,
        workflow="cli-logs.greet",
        attempt=1,
        epoch=1,
        logger="shop",
        message=message,
        **given,
    )
    logs.write(durable.database, [line])
