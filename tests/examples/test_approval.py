"""examples/approval.py: a person says yes, no, or nothing."""

import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from one_terminal import Dev
from performer import Performer

from celeriac import complete_token
from celeriac.state import status
from celeriac.state.runs import RunRow
from celeriac.workflows.testing import Inline, assert_durable

EXPENSE = ("e1", 120.0, "ada@example.org")


def token_of(perform: Performer, run: RunRow, key: str = "token") -> str:
    id = perform.steps(run)[key].token_id
    assert id is not None
    return f"tok_{id.hex}"


def test_it_waits_for_the_answer_without_a_worker_and_pays(example: ModuleType, perform: Performer) -> None:
    waiting = perform.once(perform.start(example.approve_expense, *EXPENSE))
    assert (status.WAITING, None) == (waiting.status, waiting.worker_id)
    assert complete_token(token_of(perform, waiting), {"approved": True})
    done = perform.finish(perform.row(waiting.id))
    assert {"expense_id": "e1", "approved": True, "payment": "payment-e1-120.00"} == json.loads(done.output or "")


def test_wherever_its_worker_dies_it_reminds_twice_and_gives_up(
    example: ModuleType, world: Callable[[], Inline], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"expense_id": "e1", "approved": False, "payment": None} == assert_durable(
        example.approve_expense, *EXPENSE, world=world
    )
    mails = capsys.readouterr().out.count("Subject: ")
    assert 0 == mails % 3  # in each of the runs the first one and two reminders


@pytest.mark.parametrize("answer", [{"approved": False}, {"approved": "perhaps"}, {}, None, "yes"])
def test_whatever_is_no_clear_yes_pays_nothing(example: ModuleType, perform: Performer, answer: Any) -> None:
    waiting = perform.once(perform.start(example.approve_expense, *EXPENSE))
    complete_token(token_of(perform, waiting), answer)
    assert '"payment":null' in (perform.finish(perform.row(waiting.id)).output or "")


def test_a_reminder_has_a_token_of_its_own_and_the_one_before_counts_no_more(
    example: ModuleType, perform: Performer
) -> None:
    waiting = perform.once(perform.start(example.approve_expense, *EXPENSE))
    reminded = perform.once(waiting)
    assert status.WAITING == reminded.status
    assert not complete_token(token_of(perform, reminded), {"approved": True})
    assert complete_token(token_of(perform, reminded, "token#2"), {"approved": True})
    done = perform.finish(perform.row(reminded.id))
    assert '"approved":true' in (done.output or "")
    assert '"Reminder 1: please approve e1"' == perform.steps(done)["mail#2"].output


def test_without_an_answer_to_three_mails_it_is_declined(example: ModuleType, perform: Performer) -> None:
    done = perform(example.approve_expense, *EXPENSE)
    assert '"approved":false' in (done.output or "")
    assert ["mail", "mail#2", "mail#3"] == [key for key in perform.steps(done) if "mail" in key]


def test_the_mail_names_the_address_that_completes_the_token(
    example: ModuleType, perform: Performer, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = perform.once(perform.start(example.approve_expense, *EXPENSE))
    assert f"Answer at http://localhost:8484/callbacks/{token_of(perform, waiting)}" in capsys.readouterr().out


def test_the_docstrings_commands_ask_and_take_the_answer(start_dev: Callable[..., Dev]) -> None:
    dev = start_dev("approval")
    run = dev.trigger("approve-expense", expense_id="e1", amount=120, approver="ada@example.org")
    dev.run_once_it(run, lambda run: run["status"] == "waiting")
    [token] = re.findall(r"Answer at http://localhost:8484/callbacks/(tok_[0-9a-f]+)", dev.log())
    assert 200 == dev.call(f"/api/v1/tokens/{token}/complete", b'{"result": {"approved": true}}')[0]
    done = dev.run_once_it(run, lambda run: run["status"] == "completed")
    assert "payment-e1-120.00" == done["output"]["payment"]
