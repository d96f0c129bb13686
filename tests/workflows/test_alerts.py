"""Alerts: told in the transaction of what goes wrong, by webhook, Slack and mail, and not more often than is of use."""

import base64
import json
import multiprocessing
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import standardwebhooks
from certificates import certificate
from mailserver import MailServer
from performer import Performer
from receiver import Receiver, says

from celeriac import Abort, Celeriac, workflow
from celeriac.beat.digest import Digest
from celeriac.beat.grouper import Grouper
from celeriac.state import alerts, runs
from celeriac.state.database import Database
from celeriac.state.ids import new_id, public
from celeriac.state.runs import OUTBOUND, Filter, RunRow
from celeriac.workflows.errors import AddressRefused, AlertConflict, NotDelivered, UnknownAlert, UsageError
from celeriac.workflows.outbound.channels import send_mail
from celeriac.workflows.outbound.signing import callback_secrets
from celeriac.workflows.outbound.wording import worded

KEY = "a key that encrypts addresses at rest"
LATER = timedelta(hours=1)


@pytest.fixture
def mailserver() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac], mailserver: MailServer) -> Celeriac:
    return make_durable(
        celeriac_secret_key=KEY,
        celeriac_outbound_allow="127.0.0.1",
        celeriac_public_url="https://runs.example/",
        celeriac_environment="production",
        celeriac_smtp_url=f"smtp+plain://127.0.0.1:{mailserver.port}",
        celeriac_smtp_from="celeriac@runs.example",
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@workflow(name="alert-tests.charge", version="v7")
def charge(order: int, fails: bool = True, text: str = "the card is declined\nsecond line") -> str:
    if fails:
        raise Abort(text)
    return "receipt"


@workflow(name="alert-tests.other")
def other() -> None:
    raise Abort("another one")


def started(database: Database) -> list[RunRow]:
    """The runs that tell of something, the oldest first."""
    found = runs.find(database, Filter(workflow=OUTBOUND), 100)
    return sorted(found, key=lambda row: row.id)


def told(database: Database) -> list[dict[str, Any]]:
    """What they are to tell."""
    return [json.loads(row.payload) for row in started(database)]


def send_all(perform: Performer) -> list[str]:
    """Executes them: how each ended."""
    return [perform.finish(row).status for row in started(perform.database) if not row.is_final]


def test_a_run_that_fails_is_told_signed_in_its_own_transaction(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url)
    run = perform(charge, 7)
    assert ["completed"] == send_all(perform)
    (secret,) = callback_secrets(durable.settings)
    newest = receiver.received[-1]
    message = standardwebhooks.Webhook(secret).verify(newest.body.decode(), newest.headers)
    data = message["data"]
    assert ("run.failed", "ops", 0, "v1") == (message["type"], data["alert"], data["held"], data["version"])
    assert (public("run", run.id), "alert-tests.charge", None) == tuple(
        data["run"][member] for member in ("id", "workflow", "payload")
    )
    assert f"https://runs.example/api/v1/runs/{public('run', run.id)}" == data["run"]["url"]
    assert "Traceback" not in newest.body.decode()


def test_what_is_told_is_committed_with_the_end_or_not_at_all(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url)
    held, _ = perform.claim(perform.start(charge, 7))
    with durable.database.transaction() as transaction:
        runs.fail(transaction, held.id, held.epoch, json.dumps({"type": "E", "message": "m"}), "it failed")
        assert 1 == len(transaction.all("select from celeriac.runs where workflow = 'celeriac.outbound'"))
        transaction.connection.get_transaction().rollback()
    assert [] == started(durable.database)


def test_a_run_that_completes_or_is_cancelled_alerts_nobody(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url)
    perform(charge, 7, fails=False)
    durable.get(perform.start(charge, 8).id).cancel()
    assert [] == started(durable.database)


def test_slack_gets_words_with_a_link_and_nothing_of_the_error_is_markup(perform, durable, receiver):
    durable.alert("ops").create("slack", receiver.url)
    run = perform(charge, 7, text="<!channel> & <script>")
    assert ["completed"] == send_all(perform)
    text = receiver.received[-1].message["text"]
    assert "*[production] alert-tests.charge failed*" == text.splitlines()[0]
    assert "Error: celeriac.workflows.errors.Abort: &lt;!channel&gt; &amp; &lt;script&gt;" in text
    assert f"<https://runs.example/runs/{public('run', run.id)}|The run>" in text
    assert "webhook-signature" not in receiver.received[-1].headers


def test_the_address_of_slack_is_a_secret_and_kept_as_one(durable, receiver):
    durable.alert("ops").create("slack", f"{receiver.url}/T00/B00/verysecret")
    row = durable.alert("ops").row
    assert row["address"].endswith("/…")
    everything = json.dumps(durable.database.all("select * from celeriac.alerts"), default=str)
    assert "verysecret" not in everything


def test_a_mail_has_its_words_and_the_same_message_id_when_it_is_sent_again(perform, durable, mailserver):
    durable.alert("ops").create("email", "ada@shop.example, bob@shop.example")
    mailserver.refusals.append("451 try later")
    run = perform(charge, 7)
    assert ["completed"] == send_all(perform)
    first, mail = mailserver.mails  # ada was to be tried again
    assert [["bob@shop.example"], ["ada@shop.example", "bob@shop.example"]] == [first.recipients, mail.recipients]
    assert first.message["Message-ID"] == mail.message["Message-ID"]
    assert "[production] alert-tests.charge failed" == mail.message["Subject"]
    assert f"https://runs.example/runs/{public('run', run.id)}" in mail.text
    assert "Error: celeriac.workflows.errors.Abort: the card is declined\r\n" in mail.text
    assert "second line" not in mail.text
    assert json.loads(started(durable.database)[0].payload)["id"] in mail.message["Message-ID"]


def test_a_mailbox_that_is_refused_for_good_is_not_tried_again(perform, durable, mailserver):
    durable.alert("ops").create("email", "nobody@shop.example")
    mailserver.refusals.append("550 no such user")
    perform(charge, 7)
    assert ["failed"] == send_all(perform)
    (row,) = started(durable.database)
    assert "550 no such user" in json.loads(row.error)["message"]


def test_mail_is_not_sent_in_the_clear_unless_the_setting_says_so(make_durable, mailserver, database):
    durable = make_durable(
        celeriac_smtp_url=f"smtp://user:pass@127.0.0.1:{mailserver.port}", celeriac_smtp_from="celeriac@runs.example"
    )
    said = worded("alert.sample", {"alert": "ops"}, durable.settings)
    with pytest.raises(NotDelivered, match="STARTTLS"):
        send_mail(durable.settings, "ada@shop.example", "msg_1", said)
    assert [] == mailserver.mails


def test_mail_goes_by_starttls_to_a_server_whose_certificate_is_trusted(make_durable, monkeypatch, tmp_path):
    file = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = MailServer(context)
    durable = make_durable(
        celeriac_smtp_url=f"smtp://ada:p%40ss@localhost:{server.port}", celeriac_smtp_from="celeriac@runs.example"
    )
    said = worded("alert.sample", {"alert": "ops"}, durable.settings)
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        send_mail(durable.settings, "ada@shop.example", "msg_1", said)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert {"refused": []} == send_mail(durable.settings, "ada@shop.example", "msg_1", said)
    (mail,) = server.mails
    assert (True, b"\0ada\0p@ss") == (mail.is_encrypted, base64.b64decode((mail.login or "").split()[-1]))
    server.close()


def test_a_payload_is_told_only_where_it_was_asked_for(perform, durable, receiver):
    durable.alert("with").create("webhook", receiver.url, include=["payload"])
    durable.alert("without").create("webhook", receiver.url)
    perform(charge, 7)
    documents = {message["data"]["alert"]: message["data"]["run"]["payload"] for message in told(durable.database)}
    assert {"with": {"order": 7}, "without": None} == documents


def test_filters_are_by_workflow_tag_event_and_environment(perform, durable, receiver):
    for name, given in {
        "a-workflow": {"workflows": ["alert-tests.charge"]},
        "b-workflow": {"workflows": ["alert-tests.other"]},
        "c-tag": {"tags": ["vip"]},
        "d-tag": {"tags": ["no"]},
        "e-event": {"events": ["run.crashed"]},
        "f-here": {"environments": ["production"]},
        "g-there": {"environments": ["staging"]},
    }.items():
        durable.alert(name).create("webhook", receiver.url, **given)
    perform.finish(charge.apply_async((7,), tags=["vip"]).row)
    assert {"a-workflow", "c-tag", "f-here"} == {message["data"]["alert"] for message in told(durable.database)}


def test_in_its_cool_down_an_alert_is_silent_counts_and_then_tells(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url, cool_down=300)
    for order in range(4):
        perform(charge, order)
    perform(other)  # another workflow has a turn of its own
    assert ["alert-tests.charge", "alert-tests.other"] == [m["data"]["run"]["workflow"] for m in told(durable.database)]
    assert 3 == alerts.held(durable.database)["ops"]["held"]
    durable.database.all("update celeriac.alert_turns set sent_at = sent_at - interval '301 seconds'")
    perform(charge, 5)
    newest = told(durable.database)[-1]["data"]
    assert (3, True) == (newest["held"], newest["since"] is not None)
    assert 0 == alerts.held(durable.database)["ops"]["held"]


def test_a_failure_holds_back_no_crash_of_the_same_workflow(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url, cool_down=300)
    perform(charge, 1)
    poison = durable.trigger("alert-tests.charge", {"order": 2}).row
    for _ in range(poison.max_crashes):
        worker_id = new_id()
        runs.claim(durable.database, poison.id, worker_id=worker_id, worker_pid=1, version="v", epoch=None)
        runs.requeue(durable.database, worker_id, "killed by signal 9")
    assert ["run.failed", "run.crashed"] == [message["type"] for message in told(durable.database)]
    assert 0 == alerts.held(durable.database)["ops"]["held"]


def test_beat_says_anew_which_alerts_are_for_its_environment(make_durable, durable, receiver):
    for name, environments in {"everywhere": [], "here": ["production"], "there": ["staging"]}.items():
        durable.alert(name).create("webhook", receiver.url, environments=environments)
    assert 0 == Digest(durable).run_once()["placed"]
    renamed = make_durable(celeriac_environment="staging")
    assert 2 == Digest(renamed).run_once()["placed"]
    assert {"everywhere": True, "here": False, "there": True} == {
        row["name"]: row["is_here"] for row in alerts.every(durable.database)
    }


def test_what_was_held_back_is_told_when_the_cool_down_is_over_and_nothing_came(perform, durable, receiver):
    durable.alert("ops").create("slack", receiver.url, cool_down=300)
    for order in range(3):
        last = perform(charge, order)
    digest, now = Digest(durable), durable.database.now()
    assert 0 == digest.run_once(now + timedelta(seconds=290))["digests"]
    assert 1 == digest.run_once(now + timedelta(seconds=310))["digests"]
    assert 0 == digest.run_once(now + timedelta(seconds=310))["digests"]
    assert ["completed", "completed"] == send_all(perform)
    text = receiver.received[-1].message["text"]
    assert "*[production] alert-tests.charge: 2 more*" == text.splitlines()[0]
    assert public("run", last.id) in text
    assert 0 == digest.run_once(now + timedelta(days=3))["digests"]
    assert [] == durable.database.all("select from celeriac.alert_turns")


def fail_many(url: str, workflow_name: str, gate: Any) -> None:
    """In a process of its own: fails runs, as fast as it can, from the moment that all are there."""
    database = Database(url)
    claimed = []
    for row in database.all(
        "select id from celeriac.runs where workflow = %(name)s and status = 'queued' order by id limit 20",
        name=workflow_name,
    ):
        claimed.append(row["id"])
    gate.wait()
    for id in claimed:
        taken = runs.claim(database, id, worker_id=new_id(), worker_pid=1, version="v", epoch=None)
        if taken is not None:
            runs.fail(database, id, taken[0].epoch, json.dumps({"type": "E", "message": "m"}), "it failed")
    database.close()


def test_of_two_processes_that_fail_at_once_one_speaks_and_all_are_counted(perform, durable, receiver, database_url):
    durable.alert("ops").create("webhook", receiver.url)
    for order in range(20):
        perform.start(charge, order)
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(2)
    processes = [context.Process(target=fail_many, args=(database_url, "alert-tests.charge", gate)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [0, 0] == [process.exitcode for process in processes]
    assert 1 == len(told(durable.database))
    assert 19 == alerts.held(durable.database)["ops"]["held"]


def test_of_two_beats_that_see_a_cool_down_end_one_tells_of_it(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url)
    perform(charge, 1)
    perform(charge, 2)
    later = durable.database.now() + LATER
    with durable.database.transaction() as transaction:
        assert 1 == alerts.digest(transaction, later)
        assert 0 == alerts.digest(durable.database, later)
    assert ["run.failed", "alert.digest"] == [message["type"] for message in told(durable.database)]


def test_an_error_is_told_when_it_is_new_and_when_it_comes_back(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url, ["error.new", "error.regressed"], cool_down=0)
    run = perform(charge, 1)
    perform(charge, 2)
    Grouper(durable).run_once(durable.database.now() + LATER)
    (message,) = told(durable.database)
    error = message["data"]["error"]
    assert ("error.new", 2, ["v1"], "alert-tests.charge") == (
        message["type"], error["count"], error["versions"], error["workflow"],
    )  # fmt: skip
    assert run.version == "v1"
    durable.database.all(
        "update celeriac.errors set state = 'resolved', resolved_versions = '{}', moved_at = now() - interval '1 day'"
    )
    perform(charge, 3)
    durable.database.all(
        "update celeriac.meters set measured_until = now() - interval '1 second' where name = 'errors'"
    )
    Grouper(durable).run_once(durable.database.now() + LATER)
    assert ["error.new", "error.regressed"] == [each["type"] for each in told(durable.database)]
    assert ["completed", "completed"] == send_all(perform)


def test_a_storm_of_new_errors_in_one_workflow_is_told_once_and_counted(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url, ["error.new"], cool_down=300)
    for order, text in enumerate(("no ash", "no birch", "no cedar", "no elm")):
        perform.finish(charge.delay(order, text=text).row)
    perform(other)  # another workflow has a turn of its own
    Grouper(durable).run_once(durable.database.now() + LATER)
    assert ["alert-tests.charge", "alert-tests.other"] == sorted(
        message["data"]["error"]["workflow"] for message in told(durable.database)
    )
    assert 1 == Digest(durable).run_once(durable.database.now() + timedelta(seconds=310))["digests"]
    digest = told(durable.database)[-1]
    assert ("alert.digest", 3, "alert-tests.charge") == (
        digest["type"], digest["data"]["held"], digest["data"]["error"]["workflow"],
    )  # fmt: skip


def test_a_message_that_is_not_accepted_is_tried_again_and_alerts_nobody(perform, durable, receiver):
    durable.alert("ops").create("webhook", receiver.url)
    receiver.answers = [says(500), says(200)]
    perform(charge, 1)
    assert ["completed"] == send_all(perform)
    durable.alert("ops").remove()
    durable.alert("ops").create("webhook", receiver.url, cool_down=0)
    receiver.answers = [says(410)]
    perform(charge, 2)
    assert ["failed"] == send_all(perform)
    assert 2 == len(started(durable.database))


def test_a_paused_alert_is_silent_and_a_removed_one_cannot_be_told(perform, durable, receiver):
    control = durable.alert("ops")
    control.create("webhook", receiver.url)
    control.pause("ada", "we move")
    perform(charge, 1)
    assert [] == started(durable.database)
    control.resume()
    perform(charge, 2)
    control.remove()
    assert ["failed"] == send_all(perform)
    with pytest.raises(UnknownAlert):
        control.pause()


def test_a_sample_goes_the_way_of_all_messages(perform, durable, receiver):
    control = durable.alert("ops")
    control.create("slack", receiver.url)
    control.test("ada")
    assert ["completed"] == send_all(perform)
    assert "A sample of the alert ops" in receiver.received[-1].message["text"]


REFUSED: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"channel": "pager"}, UsageError),
    ({"address": "http://10.0.0.1/"}, AddressRefused),
    ({"channel": "email", "address": "no mailbox"}, UsageError),
    ({"channel": "email", "address": "a@b.c\nBcc: x@y.z"}, UsageError),
    ({"events": []}, UsageError),
    ({"events": ["run.completed"]}, UsageError),
    ({"include": ["error"]}, UsageError),
    ({"tags": "vip"}, UsageError),
    ({"cool_down": -1}, UsageError),
]


@pytest.mark.parametrize(("given", "error"), REFUSED)
def test_what_cannot_be_an_alert_is_refused_and_nothing_stored(durable, receiver, given, error):
    with pytest.raises(error):
        durable.alert("ops").create(**{"channel": "webhook", "address": receiver.url, **given})
    assert [] == alerts.every(durable.database)


def test_a_name_is_taken_once_and_a_change_leaves_the_rest(durable, receiver):
    control = durable.alert("ops")
    control.create("webhook", receiver.url, tags=["vip"])
    with pytest.raises(AlertConflict):
        control.create("webhook", receiver.url)
    row = control.update(cool_down=60, environments=["staging"])
    assert (60.0, ["vip"], False) == (row["cool_down_seconds"], row["tags"], row["is_here"])
    with pytest.raises(UsageError):
        control.update(channel="slack")
