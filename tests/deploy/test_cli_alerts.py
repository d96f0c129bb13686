"""`celeriac alerts`."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from celeriac import Celeriac
from celeriac.deploy.commands.alerts import command
from celeriac.state import audit

SLACK = "https://hooks.slack.com/services/T0/B0/verysecret"


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable(celeriac_secret_key="a key that encrypts secrets")


@pytest.fixture
def celeriac(durable: Celeriac) -> Callable[..., tuple[int, str]]:
    """What a command answers: its exit code, and what it says."""

    def celeriac(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, words, obj={"app": durable.app})
        return done.exit_code, done.output

    return celeriac


def test_an_alert_is_made_changed_paused_and_removed_and_each_is_in_the_audit(celeriac, durable):
    assert (0, "") == celeriac("create", "ops", "slack", SLACK, "--event", "run.failed", "--tag", "vip")
    code, said = celeriac("--json")
    (row,) = json.loads(said)
    assert (0, "ops", "run.failed", "vip", "all", "300 s", "active") == (
        code, row["name"], row["events"], row["tags"], row["workflows"], row["cool_down"], row["state"],
    )  # fmt: skip
    assert "verysecret" not in said
    assert (0, "") == celeriac("update", "ops", "--tag", "all", "--cool-down", "60")
    assert (0, "") == celeriac("pause", "ops", "--note", "we move")
    row = json.loads(celeriac("show", "ops", "--json")[1])
    assert ("all", "60 s", "paused", {}) == (row["tags"], row["cool_down"], row["state"], row["messages"])
    assert (0, "") == celeriac("resume", "ops")
    code, said = celeriac("test", "ops", "--timeout", "0.1")
    assert (1, True) == (code, "queued" in said)  # no worker is up
    assert (0, "") == celeriac("remove", "ops")
    written = [row["path"] for row in audit.newest(durable.database, audit.Filter(), 10)]
    assert [f"alerts {verb}" for verb in ("remove", "resume", "pause", "update", "create")] == written


def test_what_cannot_be_is_a_fault_of_usage(celeriac):
    assert 2 == celeriac("create", "ops", "pager", SLACK)[0]
    assert 2 == celeriac("create", "ops", "slack", "http://10.0.0.1/")[0]
    assert 2 == celeriac("pause", "nobody")[0]
    celeriac("create", "ops", "slack", SLACK)
    code, said = celeriac("create", "ops", "slack", SLACK)
    assert (1, True) == (code, "is there already" in said)
