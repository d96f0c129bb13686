"""Webhooks that are sent: committed with what they tell, signed, tried again, held, and never sent about themselves."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import standardwebhooks
from performer import Performer
from receiver import Receiver, says

from celeriac import Abort, Celeriac, Event, workflow
from celeriac.state import deliveries, outbound, runs
from celeriac.state.deliveries import NewDelivery
from celeriac.state.ids import new_id, public
from celeriac.state.runs import RunRow
from celeriac.workflows.engine.failure import error_document
from celeriac.workflows.errors import AddressRefused, SubscriptionConflict, UnknownSubscription, UsageError
from celeriac.workflows.operate import repairs
from celeriac.workflows.outbound.sender import EVENTS, OUTBOUND, PATIENCE
from celeriac.workflows.outbound.signing import callback_secrets
from celeriac.workflows.webhooks import inbox

KEY = "a key that encrypts secrets at rest"


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable(celeriac_secret_key=KEY, celeriac_outbound_allow="127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def secret(durable: Celeriac, receiver: Receiver) -> str:
    """Of the subscription `crm` to everything."""
    return durable.subscription("crm").create(receiver.url, include=["payload", "output", "metadata"]).secret


@workflow(name="outbound-tests.greet")
def greet(name: str, fails: bool = False) -> str:
    if fails:
        raise Abort("no greeting")
    return f"hello {name}"


def told(perform: Performer, run: RunRow) -> list[RunRow]:
    """The runs that tell of a run."""
    return runs.of_source(perform.database, "outbound", public("run", run.id))


def sent(perform: Performer, run: RunRow) -> RunRow:
    """The run that tells of this one, once it has ended."""
    (row,) = told(perform, run)
    return perform.finish(row)


def verified(secret: str, receiver: Receiver) -> dict[str, Any]:
    """The newest message, as the library of Standard Webhooks reads it."""
    newest = receiver.received[-1]
    message: dict[str, Any] = standardwebhooks.Webhook(secret).verify(newest.body.decode(), newest.headers)
    return message


def test_the_end_of_a_run_is_told_signed_as_standard_webhooks(perform, receiver, secret):
    run = perform(greet, "Ada")
    done = sent(perform, run)
    assert ("completed", OUTBOUND, "crm") == (done.status, done.queue, done.concurrency_key)
    message = verified(secret, receiver)
    assert "run.completed" == message["type"]
    assert message["timestamp"] == message["data"]["run"]["finished_at"]
    told_of = {
        name: message["data"]["run"][name] for name in ("id", "workflow", "status", "payload", "output", "error")
    }
    assert {
        "id": public("run", run.id),
        "workflow": "outbound-tests.greet",
        "status": "completed",
        "payload": {"name": "Ada"},
        "output": "hello Ada",
        "error": None,
    } == told_of
    assert ("/hook", "application/json") == (receiver.received[0].path, receiver.received[0].headers["content-type"])
    result = json.loads(done.output)
    assert (200, "127.0.0.1", "ok") == (result["status"], result["address"], result["answer"])


def test_what_is_told_is_committed_with_the_end_or_not_at_all(perform, secret):
    run = perform.start(greet, "Ada")
    held, _ = perform.claim(run)
    with perform.database.transaction() as transaction:
        runs.complete(transaction, held.id, held.epoch, '"hello"')
        assert 1 == len(runs.of_source(transaction, "outbound", public("run", run.id)))
        transaction.connection.get_transaction().rollback()
    assert ([], "running") == (told(perform, run), perform.row(run.id).status)
    runs.complete(perform.database, held.id, held.epoch, '"hello"')
    assert ["queued"] == [each.status for each in told(perform, run)]


def ended_as(perform: Performer, status: str) -> RunRow:
    if status in ("completed", "failed"):
        return perform(greet, "Ada", fails=status == "failed")
    run = perform.start(greet, "Ada")
    if status == "cancelled":
        repairs.cancel(perform.durable, run.id)
    elif status == "expired":
        perform.database.all("update celeriac.runs set expires_at = now() where id = %(id)s", id=run.id)
        runs.expire(perform.database)
    elif status == "timed_out":
        perform.database.all("update celeriac.runs set deadline_at = now() where id = %(id)s", id=run.id)
        runs.time_out(perform.database)
    else:
        perform.database.all("update celeriac.runs set max_crashes = 1 where id = %(id)s", id=run.id)
        perform.claim(run)
        perform.lose_worker()
    return perform.row(run.id)


@pytest.mark.parametrize("status", [event.removeprefix("run.") for event in EVENTS if event.startswith("run.")])
def test_each_way_to_end_is_told_once_by_its_own_event(perform, receiver, secret, status):
    run = ended_as(perform, status)
    assert status == run.status
    assert "completed" == sent(perform, run).status
    message = verified(secret, receiver)
    assert (f"run.{status}", status) == (message["type"], message["data"]["run"]["status"])


def test_an_error_is_told_without_the_code_that_raised_it(perform, receiver, secret):
    sent(perform, perform(greet, "Ada", fails=True))
    error = receiver.received[0].message["data"]["run"]["error"]
    assert {"type": "celeriac.state.errors.Abort", "message": "no greeting", "step": None} | error == error | {
        "type": error["type"]
    }
    assert "Traceback" not in receiver.received[0].body.decode()


@workflow(name="outbound-tests.odd")
def raises_in_odd_characters(text: str) -> None:
    raise Abort(text)


@pytest.mark.parametrize("text", ["nul \0 and surrogate \ud800", "\\u0000", "x" * 20_000])
def test_an_error_of_any_text_does_not_keep_its_run_from_ending(perform, receiver, secret, text):
    run = perform.finish(perform.start(raises_in_odd_characters, "odd"))
    assert "failed" == run.status
    odd = perform.start(raises_in_odd_characters, "odd")
    held, _ = perform.claim(odd)
    try:
        raise ValueError(text)
    except ValueError as error:
        runs.fail(perform.database, held.id, held.epoch, error_document(error), "it raised")
    assert "failed" == perform.row(odd.id).status
    assert "completed" == sent(perform, odd).status
    error = receiver.received[-1].message["data"]["run"]["error"]
    assert error is None or len(error["message"]) <= 2000


def test_a_subscription_is_told_only_what_it_asked_for(perform, durable, receiver):
    durable.subscription("failures").create(receiver.url, ["run.failed"])
    durable.subscription("others").create(receiver.url, workflows=["outbound-tests.other"])
    assert [] == told(perform, perform(greet, "Ada"))
    (row,) = told(perform, perform(greet, "Ada", fails=True))
    assert "failures" == row.concurrency_key
    perform.finish(row)
    assert (None, []) == (
        receiver.received[0].message["data"]["run"]["payload"],
        receiver.received[0].message["data"]["run"]["omitted"],
    )


def test_a_subscription_made_while_a_run_is_under_way_is_told_of_its_end(perform, durable, receiver):
    run = perform.start(greet, "Ada")
    held, _ = perform.claim(run)
    durable.subscription("late").create(receiver.url)
    runs.complete(perform.database, held.id, held.epoch, '"hello"')
    assert ["late"] == [each.concurrency_key for each in told(perform, run)]


def test_a_connection_that_found_nobody_to_tell_looks_again_when_a_second_has_passed(perform, durable, receiver):
    perform(greet, "Ada")
    (row,) = perform.database.all("select current_setting('celeriac.untold_until')::float8 as until, now() as now")
    assert row["until"] > 0
    durable.subscription("crm").create(receiver.url)
    for until, count in (("9e99", 0), (str(row["now"].timestamp()), 1)):
        perform.database.all("select set_config('celeriac.untold_until', %(until)s, false)", until=until)
        assert count == len(told(perform, perform(greet, "Ada")))
    perform(greet, "Ada")
    assert perform.database.all("select 1 from celeriac.runs where workflow = 'celeriac.outbound'")


def test_a_run_that_is_retried_by_hand_ends_and_is_told_again(perform, durable, receiver, secret):
    run = perform(greet, "Ada", fails=True)
    sent(perform, run)
    repairs.retry(durable, run.id)
    perform.finish(perform.row(run.id))
    for row in told(perform, run):
        perform.finish(row)
    assert 2 == len({each.headers["webhook-id"] for each in receiver.received})


def test_what_is_sent_tells_nobody_of_itself(perform, durable, receiver, secret):
    done = sent(perform, perform(greet, "Ada"))
    assert [] == told(perform, done)
    durable.subscription("gone").create("https://127.0.0.1:1/", ["run.failed"])
    repairs.cancel(durable, sent_again(perform, done).id)
    assert 0 == len(runs.find(perform.database, runs.Filter(workflow=OUTBOUND, concurrency_key="gone"), 10))


def sent_again(perform: Performer, done: RunRow) -> RunRow:
    again = repairs.replay(perform.durable, done.id)
    assert again is not None
    return again


def test_a_callback_url_is_told_of_the_end_of_its_own_run_and_of_no_other(perform, durable, receiver):
    run = perform.finish(greet.apply_async(("Ada",), callback_url=f"{receiver.url}?key=k").row)
    perform(greet, "Grace")
    row = sent(perform, run)
    assert ("completed", f"callback 127.0.0.1:{receiver.url.split(':')[2].split('/')[0]}") == (
        row.status,
        row.concurrency_key,
    )
    assert 1 == len(receiver.received)
    assert "/hook?key=k" == receiver.received[0].path
    message = verified(callback_secrets(durable.settings)[0], receiver)
    assert ("run.completed", "hello Ada") == (message["type"], message["data"]["run"]["output"])
    assert "key=k" not in row.payload


def test_a_callback_url_is_checked_before_the_run_is_stored(perform):
    for url in ("https://169.254.169.254/latest", "ftp://hooks.example", 7):
        with pytest.raises(UsageError):
            greet.apply_async(("Ada",), callback_url=url)
    assert [] == runs.find(perform.database, runs.Filter(), 10)


def test_a_replay_keeps_the_callback_url_and_the_message_its_id(perform, durable, receiver):
    run = perform.finish(greet.apply_async(("Ada",), callback_url=receiver.url).row)
    done = sent(perform, run)
    perform.finish(sent_again(perform, done))
    first, second = (each.headers["webhook-id"] for each in receiver.received)
    assert first == second
    assert receiver.url == sent_again(perform, run).callback_url


def test_both_keys_of_the_setting_sign_a_callback_while_it_is_rotated(perform, make_durable, receiver):
    perform.durable = make_durable(
        celeriac_secret_key=f"another key of the shop,{KEY}", celeriac_outbound_allow="127.0.0.1"
    )
    sent(perform, perform.finish(greet.apply_async(("Ada",), callback_url=receiver.url).row))
    for each in callback_secrets(perform.durable.settings):
        verified(each, receiver)
    assert 2 == len(receiver.received[0].headers["webhook-signature"].split())


def test_a_dead_letter_is_told_once(perform, durable, receiver):
    durable.subscription("dead").create(receiver.url, ["delivery.dead"])

    @durable.webhook("broken", verify="none", workflow=greet)
    def raises(event: Event) -> dict[str, Any]:
        raise RuntimeError("the mapping is broken")

    new = NewDelivery(id=new_id(), endpoint="broken", dedupe_key="k", headers={}, body=b"{}", event_type="t")
    stored, _ = deliveries.store(perform.database, new)
    inbox.route(durable, durable.endpoints["broken"], stored)
    (row,) = runs.of_source(perform.database, "outbound", public("dlv", stored.id))
    perform.finish(row)
    message = receiver.received[0].message
    assert "delivery.dead" == message["type"]
    dead = message["data"]["delivery"]
    assert (public("dlv", stored.id), "broken", "mapping_error") == (dead["id"], dead["endpoint"], dead["reason_code"])


def test_what_is_not_accepted_is_tried_again_with_the_same_id_and_a_time_of_its_own(perform, receiver, secret):
    receiver.answers = [says(500, b"it is down"), says(302, Location="http://169.254.169.254/"), says(404), says(200)]
    (row,) = told(perform, perform(greet, "Ada"))
    delayed = perform.once(row)
    assert "delayed" == delayed.status
    error = json.loads(delayed.error)
    assert error["type"].endswith("NotDelivered")
    assert "500 from 127.0.0.1" in error["message"]
    assert "it is down" in error["message"]
    assert "completed" == perform.finish(delayed).status
    assert 4 == len(receiver.received)
    assert 1 == len({each.headers["webhook-id"] for each in receiver.received})
    assert 4 == perform.steps(row)["send"].attempts
    verified(secret, receiver)


def test_patience_lasts_about_three_days():
    longest = sum(min(PATIENCE.max_delay, PATIENCE.min_delay * PATIENCE.factor**k) for k in range(11))
    assert 1.5 < 0.5 * longest / 86_400 < 0.75 * longest / 86_400 < longest / 86_400 < 4.5


def test_it_fails_when_patience_is_spent_and_can_be_retried_by_hand(perform, durable, receiver, secret):
    receiver.answers = [says(500)]
    (row,) = told(perform, perform(greet, "Ada"))
    failed = perform.finish(row)
    assert ("failed", 12) == (failed.status, len(receiver.received))
    receiver.answers = [says(204, b"")]
    repairs.retry(durable, row.id)
    assert "completed" == perform.finish(perform.row(row.id)).status


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [(503, "120", 120), (429, "7200", 7200), (429, "0", 5), (503, "999999999999", 86_400), (429, "soon", None),
     (500, "600", None)],
)  # fmt: skip
def test_a_receiver_that_is_busy_says_when_it_is_asked_again(perform, receiver, secret, status, header, seconds):
    receiver.answers = [says(status, Retry_After=header)]
    (row,) = told(perform, perform(greet, "Ada"))
    delayed = perform.once(row)
    delay = (delayed.run_at - perform.database.now()).total_seconds()
    if seconds is None:
        assert delay <= PATIENCE.min_delay
    else:
        assert seconds - 5 < delay <= seconds


def test_410_disables_the_subscription_until_a_person_resumes_it(perform, durable, receiver, secret):
    receiver.answers = [says(410)]
    first = perform(greet, "Ada")
    waiting = told(perform, perform(greet, "Grace"))[0]
    failed = sent(perform, first)
    assert ("failed", 1) == (failed.status, failed.attempt)
    assert "410" in json.loads(failed.error)["message"]
    assert "its receiver answered 410 Gone" == durable.subscription("crm").row["disabled_reason"]
    assert [] == told(perform, perform(greet, "Ada"))
    assert "is disabled" in json.loads(perform.finish(waiting).error)["message"]
    assert 1 == len(receiver.received)
    receiver.answers = [says(200)]
    durable.subscription("crm").resume()
    repairs.retry(durable, failed.id)
    assert "completed" == perform.finish(perform.row(failed.id)).status
    assert 1 == len(told(perform, perform(greet, "Ada")))


def test_what_is_to_be_told_waits_while_its_subscription_is_paused(perform, durable, receiver, secret):
    durable.subscription("crm").pause("ada", "they move house")
    (row,) = told(perform, perform(greet, "Ada"))
    held = perform.once(row)
    assert ("queued", "ada", "its subscription is paused: they move house") == (
        held.status,
        held.paused_by,
        held.pause_note,
    )
    assert (False, []) == (held.is_ready, receiver.received)
    _, released = durable.subscription("crm").resume()
    assert 1 == released
    assert "completed" == perform.finish(perform.row(row.id)).status


def test_a_pause_takes_hold_of_what_is_tried_again_too(perform, durable, receiver, secret):
    receiver.answers = [says(500), says(200)]
    (row,) = told(perform, perform(greet, "Ada"))
    delayed = perform.once(row)
    durable.subscription("crm").pause()
    assert perform.once(delayed).paused_at is not None
    assert 1 == len(receiver.received)


def test_a_subscription_that_is_removed_is_told_nothing_more(perform, durable, receiver, secret):
    (row,) = told(perform, perform(greet, "Ada"))
    durable.subscription("crm").remove()
    assert "was removed" in json.loads(perform.finish(row).error)["message"]
    assert ([], []) == (receiver.received, told(perform, perform(greet, "Ada")))
    with pytest.raises(UnknownSubscription, match="no subscription named 'crm'"):
        durable.subscription("crm").pause()


def test_what_waits_for_a_paused_subscription_ends_with_it(perform, durable, receiver, secret):
    durable.subscription("crm").pause()
    (row,) = told(perform, perform(greet, "Ada"))
    assert not perform.once(row).is_ready
    durable.subscription("crm").remove()
    assert "was removed" in json.loads(perform.finish(perform.row(row.id)).error)["message"]


def test_what_a_person_has_paused_is_not_released_with_the_subscription(perform, durable, secret):
    (row,) = told(perform, perform(greet, "Ada"))
    repairs.pause(durable, row.id, "ada", "look at this one")
    assert 0 == durable.subscription("crm").resume()[1]
    assert "ada" == perform.row(row.id).paused_by


def test_a_rotated_secret_signs_beside_the_new_one_until_it_expires(perform, durable, receiver, secret):
    new = durable.subscription("crm").rotate(overlap_seconds=3600).secret
    sent(perform, perform(greet, "Ada"))
    assert verified(secret, receiver) == verified(new, receiver)
    perform.database.all("update celeriac.outbound_secrets set expires_at = now() where expires_at is not null")
    sent(perform, perform(greet, "Ada"))
    verified(new, receiver)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verified(secret, receiver)


def test_secrets_are_not_stored_as_they_are(database, durable, secret):
    rows = database.all("select * from celeriac.outbound_secrets")
    assert 1 == len(rows)
    assert secret not in str(rows)
    assert secret.removeprefix("whsec_") not in str(rows)


def test_a_worker_with_another_secret_key_says_so_and_sends_nothing(perform, make_durable, receiver, secret):
    perform.durable = make_durable(celeriac_secret_key="quite another key", celeriac_outbound_allow="127.0.0.1")
    done = sent(perform, perform(greet, "Ada"))
    assert "celeriac_secret_key of this worker is not the one" in json.loads(done.error)["message"]
    assert [] == receiver.received


def test_a_large_document_is_left_out_and_the_api_named_instead(perform, make_durable, receiver, secret):
    perform.durable = make_durable(
        celeriac_secret_key=KEY, celeriac_outbound_allow="127.0.0.1", celeriac_public_url="https://runs.example.org/"
    )
    run = perform(greet, "A" * 20_000)
    sent(perform, run)
    told_of = receiver.received[0].message["data"]["run"]
    assert (None, None, ["output", "payload"]) == (told_of["payload"], told_of["output"], told_of["omitted"])
    assert f"https://runs.example.org/api/v1/runs/{public('run', run.id)}" == told_of["url"]
    assert len(receiver.received[0].body) < 2000


def test_an_address_that_became_private_is_not_called_and_tried_again(perform, make_durable, receiver, secret):
    perform.durable = make_durable(celeriac_secret_key=KEY, celeriac_outbound_http=True)
    (row,) = told(perform, perform(greet, "Ada"))
    delayed = perform.once(row)
    assert ("delayed", []) == (delayed.status, receiver.received)
    assert "no public address" in json.loads(delayed.error)["message"]


def test_a_sample_goes_the_way_of_all_messages(perform, durable, receiver, secret):
    run = durable.subscription("crm").test(actor="ada")
    assert "completed" == perform.finish(run.row).status
    assert "subscription.test" == verified(secret, receiver)["type"]


def test_nobody_else_speaks_in_our_name(perform, durable, receiver, secret):
    forged = {"id": "msg_1", "type": "run.completed", "timestamp": "2026-01-01", "data": {}, "subscription": "crm"}
    with pytest.raises(UsageError, match="tells others what has happened"):
        durable.trigger(OUTBOUND, forged)
    done = sent(perform, perform(greet, "Ada"))
    with pytest.raises(UsageError, match="its payload cannot be another one"):
        repairs.replay(durable, done.id, forged)


def test_a_subscription_that_cannot_be_is_refused_before_anything_is_stored(durable, receiver):
    crm = durable.subscription("crm")
    for given in (
        {"url": "https://10.0.0.1/"},
        {"url": "hooks"},
        {"events": []},
        {"events": ["run.ended"]},
        {"events": "run.failed"},
        {"include": ["error"]},
        {"workflows": [""]},
        {"secret": "s3cret"},
        {"secret": "whsec_c2hvcnQ="},
    ):
        with pytest.raises(UsageError):
            crm.create(**{"url": receiver.url, **given})
    with pytest.raises(UsageError):
        durable.subscription("no name")
    assert [] == outbound.every(durable.database)
    crm.create(receiver.url)
    with pytest.raises(SubscriptionConflict, match="is there already"):
        crm.create(receiver.url)
    with pytest.raises(AddressRefused):
        crm.update(url="https://[::1]/")
    assert (["run.failed"], receiver.url) == (crm.update(events=["run.failed"])["events"], crm.row["url"])


def test_without_a_key_no_secret_is_made(make_durable, receiver):
    with pytest.raises(UsageError, match="secret_key is not set"):
        make_durable(celeriac_outbound_allow="127.0.0.1").subscription("crm").create(receiver.url)


def test_what_is_sent_is_not_among_the_runs_of_the_shop(perform, secret):
    run = perform(greet, "Ada")
    sent(perform, run)
    assert [run.id] == [each.id for each in runs.find(perform.database, runs.Filter(), 10)]
    assert 1 == runs.count(perform.database, runs.Filter(status=("completed",)), 10)
    for narrowed in (runs.Filter(source="outbound"), runs.Filter(queue=OUTBOUND), runs.Filter(workflow=OUTBOUND)):
        assert 1 == runs.count(perform.database, narrowed, 10)


def test_counts_and_pending_say_how_it_goes(perform, durable, secret):
    sent(perform, perform(greet, "Ada"))
    perform(greet, "Grace")
    assert {"crm": {"completed": 1, "queued": 1}} == outbound.counts(durable.database)
    (pending,) = outbound.pending(durable.database)
    assert ("crm", 1) == (pending["name"], pending["runs"])
    assert pending["oldest_seconds"] >= 0
    assert timedelta(0) <= durable.database.now() - outbound.newest(durable.database)["crm"]["created_at"]
