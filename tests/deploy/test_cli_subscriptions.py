"""`celeriac subscriptions`: made, tried, and looked at in a terminal."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celeriac import Celeriac
from celeriac.deploy.cli import celery_command
from celeriac.state import outbound

URL = "https://crm.example/hook"


@pytest.fixture
def served(make_durable: Any) -> Celeriac:
    durable: Celeriac = make_durable(celeriac_secret_key="a key of sixteen characters or more")
    return durable


@pytest.fixture
def run(served: Celeriac):
    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(
            celery_command, ["subscriptions", *arguments], obj=SimpleNamespace(app=served.app), input=typed
        )

    return run


def test_one_is_made_changed_paused_rotated_and_removed(served, run):
    made = run("create", "crm", URL, "--event", "run.failed", "--workflow", "sync", "--include", "none")
    assert (0, True) == (made.exit_code, made.output.startswith("whsec_")), made.output
    (row,) = json.loads(run("ls", "--json").output)
    assert ("run.failed", "sync", None, "active") == tuple(row[m] for m in ("events", "workflows", "include", "state"))
    assert 0 == run("update", "crm", "--workflow", "all", "--include", "output").exit_code
    assert ([], ["output"]) == tuple(outbound.get(served.database, "crm")[m] for m in ("workflows", "include"))
    assert 0 == run("pause", "crm", "--note", "they move").exit_code
    assert "paused" in run("ls").output
    assert "0 messages" in run("resume", "crm").output
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    rotated = run("rotate", "crm", "--secret", typed=f"{own}\n")
    assert (0, False) == (rotated.exit_code, own in rotated.output)
    shown = run("show", "crm", "--json")
    assert (2, False) == (len(json.loads(shown.output)["secrets"]), own in shown.output)
    assert 0 == run("remove", "crm").exit_code
    assert [] == json.loads(run("ls", "--json").output)


def test_a_sample_that_nobody_sends_is_told_to_be_queued_and_listed(run):
    run("create", "crm", URL)
    sample = run("test", "crm", "--timeout", "0")
    assert (1, True) == (sample.exit_code, "queued" in sample.output)
    (delivery,) = json.loads(run("deliveries", "crm", "--json").output)
    assert ("subscription.test", "queued") == (delivery["type"], delivery["status"])
    assert [] == json.loads(run("deliveries", "crm", "--status", "failed", "--json").output)


def test_what_cannot_be_is_a_usage_error_and_another_name_s_a_failure(run):
    assert (2, True) == (
        (told := run("create", "crm", "https://10.0.0.1/")).exit_code,
        "no public address" in told.output,
    )
    run("create", "crm", URL)
    assert (1, True) == ((told := run("create", "crm", URL)).exit_code, "is there already" in told.output)
    assert 2 == run("test", "other").exit_code
    assert run("callback-secret").output.startswith("whsec_")
