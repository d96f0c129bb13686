"""Events, messages and tokens: what others bring, each once, and at no cost until then."""

import pytest

from celeriac.state import runs
from celeriac.workflows.errors import UsageError
from celeriac.workflows.waits import deliver_event, finish_token


def send(stage, name, payload, key):
    return deliver_event(stage.durable, name, payload, key)


class TestEvents:
    def test_one_that_fits_ends_the_wait_and_another_does_not(self, stage):
        run = stage.until(stage.start("waits.paid", order="o1"), "waiting")
        assert run.row.worker_id is None
        send(stage, "paid", {"order": "o2"}, f"{run.id} 1")
        assert "waiting" == run.refresh().status
        send(stage, "paid", {"order": "o1", "amount": 7}, f"{run.id} 2")
        assert {"order": "o1", "amount": 7} == run.result(timeout=20)

    def test_those_that_come_before_the_line_that_waits_are_not_missed_and_come_in_order(self, stage):
        run = stage.start("waits.later-line")
        stage.until_noted(run, "busy")
        for n in (1, 2):
            send(stage, f"tick {run.id}", {"n": n}, f"{run.id} {n}")
        stage.open(run, "busy")
        assert [1, 2] == run.result(timeout=20)

    def test_of_two_with_one_key_the_second_is_none(self, stage):
        run = stage.start("waits.later-line")
        stage.until_noted(run, "busy")
        sent = [send(stage, f"tick {run.id}", {"n": n}, f"{run.id} the key") for n in (1, 2)]
        assert [True, False] == sent
        send(stage, f"tick {run.id}", {"n": 3}, f"{run.id} another")
        stage.open(run, "busy")
        assert [1, 3] == run.result(timeout=20)

    def test_a_timeout_is_an_outcome_that_a_replay_sees_again(self, stage):
        run = stage.start("waits.nothing-comes")
        assert ["TimeoutError"] == run.result(timeout=20)
        assert "failed" == stage.steps(run)["event never"].status

    def test_one_that_a_run_sends_is_sent_once_however_often_its_line_is_replayed(self, stage):
        topic = f"from {id(self)}-{stage.durable.database.now().isoformat()}"
        assert [True, True] == stage.result("waits.sends", topic=topic)
        sent = stage.durable.database.all("select payload from celeriac.events where name = %(name)s", name=topic)
        assert ['{"n": 1}', '{"n": 2}'] == [row["payload"] for row in sent]

    def test_one_starts_the_workflows_that_subscribe_to_it(self, stage):
        key = stage.durable.database.now().isoformat()
        send(stage, "signed-up", {"name": key}, key)
        started = [row for row in _of(stage, "waits.subscribed") if key in row.payload]
        assert ["event"] == [row.source for row in started]
        assert f"welcome, {key}" == stage.durable.get(started[0].id).result(timeout=20)


class TestMessages:
    def test_they_are_kept_until_the_run_asks_and_come_in_their_order_by_topic(self, stage):
        run = stage.start("waits.inbox")
        stage.until_noted(run, "busy")
        run.send("x", topic="other")
        run.send(1)
        run.send({"n": 2})
        stage.open(run, "busy")
        assert [1, {"n": 2}, "x"] == run.result(timeout=20)

    def test_one_that_does_not_come_in_time(self, stage):
        assert "none" == stage.result("waits.no-message")

    def test_a_run_that_has_ended_gets_none(self, stage):
        run = stage.ended(stage.start("waits.no-message"))
        with pytest.raises(UsageError, match="has ended"):
            run.send("late")


class TestTokens:
    @pytest.fixture
    def asked(self, stage):
        run = stage.until(stage.start("waits.approval"), "waiting")
        return run, run.metadata["token"]

    def test_the_first_completion_counts(self, stage, asked):
        run, token = asked
        firsts = [finish_token(stage.durable, token, answer, None)[1] for answer in ("yes", "no")]
        assert [True, False] == firsts
        assert "yes" == run.result(timeout=20)

    def test_an_error_is_an_answer_too(self, stage, asked):
        run, token = asked
        finish_token(stage.durable, token, None, "too expensive")
        assert "refused: too expensive" == run.result(timeout=20)

    def test_its_address_is_the_secret(self, stage, asked):
        run, token = asked
        assert f"https://runs.example.org/callbacks/{token}" == run.metadata["url"]
        run.cancel()

    def test_nobody_may_answer_in_time(self, stage):
        run = stage.start("waits.approval", timeout=0.05)
        assert "nobody answered" == run.result(timeout=20)
        assert not finish_token(stage.durable, run.refresh().metadata["token"], "late", None)[1]

    def test_the_first_of_several_is_enough(self, stage):
        run = stage.until(stage.start("waits.first-answer"), "waiting")
        finish_token(stage.durable, run.metadata["tokens"][1], "second judge", None)
        assert ["second judge"] == run.result(timeout=20)


def _of(stage, workflow):
    return runs.find(stage.durable.database, runs.Filter(workflow=workflow), 100)
