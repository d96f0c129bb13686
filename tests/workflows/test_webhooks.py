"""Webhook endpoints and their routes: what a stored delivery starts, sends, or is set aside for."""

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celeriac, Event, Queue, wait_for_webhook, workflow
from celeriac.state import deliveries, inbox, runs
from celeriac.state.deliveries import DeliveryRow, NewDelivery
from celeriac.state.ids import new_id, public
from celeriac.workflows.errors import UnknownWorkflow, UsageError
from celeriac.workflows.webhooks import replay
from celeriac.workflows.webhooks.endpoints import Endpoints
from celeriac.workflows.webhooks.event import INFLATED_LIMIT_BYTES
from celeriac.workflows.webhooks.inbox import event_of, order_key, route

JSON = {"content-type": "application/json"}


@pytest.fixture
def take():
    @workflow(name="hooks.take", queue=Queue("hooks.take", concurrency=5))
    def take(n: int) -> int:
        return n

    return take


@pytest.fixture
def note():
    @workflow(name="hooks.note")
    def note(**members: Any) -> None: ...

    return note


@pytest.fixture
def deliver(durable: Celeriac) -> Callable[..., DeliveryRow]:
    """Stores a delivery as the API does, routes it, and returns it as it is then."""

    def deliver(endpoint: str, body: Any, *, key: str | None = None, routed: bool = True, **more: Any) -> DeliveryRow:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        served = durable.inbox.find(endpoint)
        assert served is not None
        headers = more.pop("headers", JSON)
        new = NewDelivery(
            id=(id := new_id()),
            endpoint=endpoint,
            dedupe_key=key or id.hex,
            headers=headers,
            body=raw,
            order_key=order_key(served, Event(endpoint, more.get("event_type"), headers, raw)),
            **more,
        )
        row, _ = deliveries.store(durable.database, new)
        if routed and row.status == "pending":
            route(durable, served, row)
        return look(durable, row)

    return deliver


def look(durable: Celeriac, row: DeliveryRow) -> DeliveryRow:
    found = deliveries.get(durable.database, row.id)
    assert found is not None
    return found


def started(durable: Celeriac) -> list[tuple[str, Any]]:
    found = runs.find(durable.database, runs.Filter(source="webhook"), 100)
    return [(row.workflow, json.loads(row.payload)) for row in reversed(found)]


def dispatched(durable: Celeriac, row: DeliveryRow) -> list[tuple[str, str, str | None]]:
    found = deliveries.dispatches(durable.database, row.id)
    return [(each["route"], each["status"], each["reason_code"]) for each in found]


# Declarations


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"verify": "strip"}, "did you mean 'stripe'"),
        ({"verify": "github", "secret": ""}, "its secret is empty"),
        ({"verify": "github", "secret": ("a", "")}, "its secret is empty"),
        ({"verify": "none", "respond": 60}, "waits 25 s at most"),
        ({"verify": "none", "limit_bytes": 10**9}, "at most 26,214,400"),
        ({"verify": "none", "order_by": "["}, "is no JMESPath"),
        ({"verify": "none", "event": "e", "where": "type ="}, "is expected"),
        ({"verify": "paypal", "secret": "pem"}, "webhook_id"),
    ],
)
def test_what_cannot_be_declared_is_refused_with_what_to_write(durable, options, told):
    with pytest.raises(UsageError, match=told):
        durable.webhook("shop", **options)


def test_a_name_is_declared_once_and_a_function_says_which_workflow_it_is_for(durable, take):
    declared = durable.webhook("shop", verify="none")
    with pytest.raises(UsageError, match="two webhook endpoints are named 'shop'"):
        durable.webhook("shop", verify="none")
    with pytest.raises(UsageError, match="say workflow="):
        declared(lambda event: {})
    with pytest.raises(UsageError, match="starts a workflow=, or sends an event="):
        declared.route()
    with pytest.raises(UsageError, match="not both"):
        durable.webhook("two", verify="none", workflow=take, transform="body")(lambda event: {})


def test_an_endpoint_is_registered_with_its_routes_and_without_its_secrets(durable, take):
    durable.webhook("shop", verify="stripe", secret="whsec_canary", workflow=take, where='type == "a"')
    durable.register()
    config = durable.inbox.row("shop")["config"]
    assert "canary" not in config
    assert [("hooks.take", 'type == "a"')] == [(r["workflow"], r["where"]) for r in json.loads(config)["routes"]]


# Routes


def test_the_json_body_or_the_fields_of_a_form_are_the_payload(durable, deliver, take, note):
    durable.webhook("a", verify="none", workflow=take)
    durable.webhook("b", verify="none")(note)
    deliver("a", {"n": 3})
    form = {"content-type": "application/x-www-form-urlencoded"}
    deliver("b", b"a=1&b=&a=2", headers=form)
    deliver("b", b"payload=%7B%22type%22%3A1%7D", headers=form)
    deliver("b", gzip.compress(b'{"zipped": true}'), headers={**JSON, "content-encoding": "gzip"})
    expected = [{"n": 3}, {"a": "1", "b": ""}, {"type": 1}, {"zipped": True}]
    assert expected == [payload for _, payload in started(durable)]


def test_a_filter_and_a_jmespath_choose_and_map_and_the_reason_is_kept(durable, deliver, take):
    wanted = 'type == "paid" and body.amount >= 10'
    durable.webhook("shop", verify="none", workflow=take, where=wanted, transform="{n: body.amount}")
    assert "routed" == deliver("shop", {"amount": 12}, event_type="paid").status
    ignored = deliver("shop", {"amount": 9}, event_type="paid")
    assert ("ignored", "body.amount is 9, expected >= 10") == (ignored.status, ignored.reason)
    assert [("hooks.take", {"n": 12})] == started(durable)


@pytest.mark.parametrize(
    ("options", "body", "code", "told"),
    [
        ({}, b"not json", "unparseable", "JSONDecodeError"),
        ({}, b"[" * 100_000, "unparseable", "RecursionError"),
        ({}, b"9" * 6000, "unparseable", "ValueError"),
        ({}, b"[1]", "payload_invalid", "the body is a JSON list"),
        ({}, b'{"n": "many"}', "payload_invalid", "/n: Input should be a valid integer"),
        ({}, b'{"n": NaN}', "payload_invalid", "n"),
        ({"where": 'body.n > "a"'}, b'{"n": 1}', "filter_error", "no order"),
        ({"where": "body.n == 1"}, b"<xml/>", "unparseable", "JSONDecodeError"),
        ({"transform": "body.n"}, b'{"n": 1}', "mapping_error", "a payload is an object"),
        ({"transform": "abs(body.n)"}, b'{"n": "x"}', "mapping_error", "abs"),
    ],
)
def test_what_cannot_be_routed_is_parked_with_the_reason_and_its_bytes(
    durable, deliver, take, options, body, code, told
):
    durable.webhook("shop", verify="none", workflow=take, **options)
    parked = deliver("shop", body)
    assert ("parked", code, body) == (parked.status, parked.reason_code, parked.body)
    assert told in parked.reason


def test_a_payload_that_jsonb_would_refuse_is_parked_and_not_a_crash(durable, deliver, note):
    durable.webhook("shop", verify="none", workflow=note)
    for body in (b'{"a": "\\u0000"}', b'{"a": "\\ud800"}'):
        assert ("parked", "payload_invalid") == ((row := deliver("shop", body)).status, row.reason_code)


def test_a_compression_bomb_is_parked_and_costs_little(durable, deliver, note):
    durable.webhook("shop", verify="none", workflow=note)
    bomb = gzip.compress(b"0" * (INFLATED_LIMIT_BYTES + 1))
    parked = deliver("shop", bomb, headers={**JSON, "content-encoding": "gzip"})
    assert "inflates to more than" in parked.reason
    cut = deliver("shop", gzip.compress(b"{}")[:-8], headers={**JSON, "content-encoding": "gzip"})
    assert ("parked", "unparseable") == (cut.status, cut.reason_code)


def test_a_delivery_fans_out_and_replaying_does_only_what_was_not_done(durable, deliver, take, note):
    durable.webhook("shop", verify="none", workflow=note).route(take, transform="{n: body.m}")
    parked = deliver("shop", {"n": 1})
    assert "parked" == parked.status
    assert "hooks.take: " in parked.reason
    assert [("hooks.note", "routed", None), ("hooks.take", "parked", "payload_invalid")] == dispatched(durable, parked)
    durable.endpoints["shop"].routes.pop()
    durable.endpoints["shop"].route(take)  # its code was mended
    again = replay.replay(durable, parked.id, actor="ada")
    assert ("routed", "ada") == (again.status, again.actor)
    assert [("hooks.note", {"n": 1}), ("hooks.take", {"n": 1})] == started(durable)


def test_two_processes_that_route_one_delivery_start_one_run(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    row = deliver("shop", {"n": 1}, routed=False)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: route(durable, durable.endpoints["shop"], row), range(8)))
    assert [("hooks.take", {"n": 1})] == started(durable)
    assert "routed" == look(durable, row).status


def test_a_process_that_dies_between_the_run_and_the_note_of_it_doubles_nothing(durable, deliver, take, monkeypatch):
    durable.webhook("shop", verify="none", workflow=take)
    row = deliver("shop", {"n": 1}, routed=False)
    with monkeypatch.context() as dying:
        dying.setattr(deliveries, "settle", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            route(durable, durable.endpoints["shop"], row)
    assert "pending" == look(durable, row).status
    route(durable, durable.endpoints["shop"], row)
    (run,) = runs.find(durable.database, runs.Filter(source="webhook"), 10)
    assert ("routed", run.id) == ((routed := look(durable, row)).status, routed.run_id)


def test_a_full_queue_puts_one_route_off_and_not_the_others(durable, deliver, take, note):
    durable.webhook("shop", verify="none", workflow=[take, note])
    durable.register()
    durable.queue("hooks.take").drain(actor="ada")
    row = deliver("shop", {"n": 1})
    assert ("pending", 1, None) == (row.status, row.attempts, row.routed_at)
    assert [("hooks.note", {"n": 1})] == started(durable)
    durable.queue("hooks.take").resume()
    route(durable, durable.endpoints["shop"], row)
    assert "routed" == look(durable, row).status
    assert [("hooks.note", {"n": 1}), ("hooks.take", {"n": 1})] == started(durable)


def test_one_endpoint_whose_queue_is_full_does_not_hold_up_another(durable, deliver, take, note, monkeypatch):
    monkeypatch.setattr(deliveries, "BATCH", 5)
    durable.webhook("full", verify="none", workflow=take)
    durable.webhook("free", verify="none", workflow=note)
    for n in range(20):
        deliver("full", {"n": n}, routed=False)
    deliver("free", {"n": 99}, routed=False)
    later = datetime.now(UTC) + timedelta(minutes=1)
    found = deliveries.pending(durable.database, ["full", "free"], later)
    assert ["free"] == [row.endpoint for row in found if row.endpoint == "free"]
    assert 6 == len(found)


# Many events in one body


def test_a_body_of_many_events_is_split_and_each_is_started_once(durable, deliver, note):
    durable.webhook("mail", verify="sendgrid", secret="k", workflow=note, where='body.event == "bounce"')
    batch = [{"sg_event_id": "a", "event": "bounce"}, {"sg_event_id": "b", "event": "open"}]
    first = deliver("mail", batch)
    assert "routed" == first.status
    assert ["routed", "ignored"] == [status for _, status, _ in dispatched(durable, first)]
    second = deliver("mail", [*batch, {"sg_event_id": "c", "event": "bounce"}])
    assert ["ignored", "ignored", "routed"] == [status for _, status, _ in dispatched(durable, second)]
    assert ["a", "c"] == [payload["sg_event_id"] for _, payload in started(durable)]
    assert "unparseable" == deliver("mail", {"no": "list"}).reason_code


# Events, and runs that wait


def test_a_delivery_is_sent_as_an_event_that_starts_a_workflow(durable, deliver):
    @workflow(name="hooks.on-paid", on_event="paid")
    def on_paid(n: int) -> None: ...

    durable.register()
    durable.webhook("shop", verify="none", event="paid", where='type == "paid"')
    row = deliver("shop", {"n": 4}, event_type="paid")
    assert [("paid", "routed", None)] == dispatched(durable, row)
    (run,) = runs.find(durable.database, runs.Filter(workflow="hooks.on-paid"), 10)
    assert {"n": 4} == json.loads(run.payload)


def test_a_run_waits_for_the_webhook_that_is_about_it(durable, deliver, perform):
    durable.webhook("stripe", verify="none")

    @workflow(name="hooks.wait")
    def wait(invoice: str) -> list[Any]:
        paid = wait_for_webhook("stripe", where={"invoice": invoice}, type="paid", timeout=60)
        return [paid["type"], paid["body"]["amount"], paid["delivery"]]

    run = perform.once(perform.start(wait, "i2"))
    assert "waiting" == run.status
    deliver("stripe", {"invoice": "i1", "amount": 1}, event_type="paid")
    deliver("stripe", {"invoice": "i2", "amount": 2}, event_type="failed")
    assert "waiting" == runs.get(durable.database, run.id).status
    told = deliver("stripe", {"invoice": "i2", "amount": 3}, event_type="paid")
    done = perform.finish(runs.get(durable.database, run.id))
    assert ["paid", 3, public("dlv", told.id)] == json.loads(done.output)


def test_a_run_that_waits_for_what_sends_no_events_is_told_so(durable, perform, note):
    durable.webhook("stripe", verify="none", workflow=note)

    @workflow(name="hooks.wait-in-vain")
    def wait() -> None:
        wait_for_webhook("stripe")

    assert "events=True" in perform(wait).error


# Order


def test_deliveries_of_one_key_start_one_after_the_other(durable, deliver, note, perform):
    durable.webhook("shop", verify="none", workflow=note, order_by="body.customer")
    first = deliver("shop", {"customer": "c1", "n": 1})
    second, other = deliver("shop", {"customer": "c1", "n": 2}), deliver("shop", {"customer": "c2", "n": 3})
    assert ("routed", "pending", "routed") == (first.status, second.status, other.status)
    assert f"{public('dlv', first.id)} of its key 'c1' comes first" == second.reason
    third = deliver("shop", {"customer": "c1", "n": 4})
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert [second.id] == [row.id for row in deliveries.pending(durable.database, ["shop"], later)]
    perform.finish(runs.get(durable.database, first.run_id))
    for row in (third, second):  # the third is not before its turn, whoever asks
        route(durable, durable.endpoints["shop"], row)
    assert ("routed", "pending") == (look(durable, second).status, look(durable, third).status)
    assert [1, 3, 2] == [payload["n"] for _, payload in started(durable)]


def test_a_run_that_does_not_end_holds_its_key_no_longer_than_the_timeout(durable, deliver, note):
    durable.webhook("shop", verify="none", workflow=note, order_by="body.customer", order_timeout=0)
    deliver("shop", {"customer": "c1"})
    assert "routed" == deliver("shop", {"customer": "c1"}).status


# Pauses, doubles, dead letters


def test_a_paused_endpoint_holds_what_comes_and_releases_it_in_its_order(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    durable.inbox.pause("shop", "ada", "the CRM is down")
    held = [deliver("shop", {"n": n}) for n in range(3)]
    assert ["held"] * 3 == [row.status for row in held]
    row, released = durable.inbox.resume("shop")
    assert (None, 3) == (row["paused_at"], released)
    found = deliveries.pending(durable.database, ["shop"], datetime.now(UTC) + timedelta(seconds=5))
    assert [row.id for row in held] == [row.id for row in found]


def test_a_double_of_a_good_delivery_is_counted_and_of_a_dead_one_opens_it_again(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    deliver("shop", {"n": 1}, key="good")
    good = deliver("shop", {"n": 1}, key="good")
    assert ("routed", 1) == (good.status, good.duplicates)
    durable.endpoints["shop"].routes.clear()
    durable.endpoints["shop"].route(take, transform="body.n")
    assert "parked" == deliver("shop", {"n": 2}, key="dead").status
    durable.endpoints["shop"].routes.clear()
    durable.endpoints["shop"].route(take)
    assert ("routed", 1) == ((dead := deliver("shop", {"n": 2}, key="dead")).status, dead.duplicates)
    assert [{"n": 1}, {"n": 2}] == [payload for _, payload in started(durable)]


def test_another_body_with_the_id_of_an_earlier_one_is_kept_beside_it_and_starts_nothing(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    first = deliver("shop", {"n": 1}, key="k")
    other = deliver("shop", {"n": 2}, key="k")
    assert ("parked", "key_conflict", b'{"n": 2}') == (other.status, other.reason_code, other.body)
    assert public("dlv", first.id) in other.reason
    assert other.id == deliver("shop", {"n": 2}, key="k").id
    assert [("hooks.take", {"n": 1})] == started(durable)
    replay.replay(durable, other.id)
    assert [{"n": 1}, {"n": 2}] == [payload for _, payload in started(durable)]


def test_what_was_routed_is_replayed_as_a_new_delivery_and_an_edited_one_too(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    first = deliver("shop", {"n": 1})
    again = replay.replay(durable, first.id, actor="ada")
    assert (first.id, "routed", "ada") == (again.replay_of, again.status, again.actor)
    dead = deliver("shop", {"m": 2})
    edited = replay.replay(durable, dead.id, body=b'{"n": 2}')
    assert ("routed", dead.id) == (edited.status, edited.replay_of)
    assert ("discarded", {"m": 2}) == ((kept := look(durable, dead)).status, json.loads(kept.body))
    assert [1, 1, 2] == [payload["n"] for _, payload in started(durable)]


def test_dead_letters_are_grouped_replayed_and_discarded_by_filter_after_a_dry_run(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    for body in ({"m": 1}, {"m": 2}, b"no json"):
        deliver("shop", body)
    deliver("shop", {"n": 1})
    groups = [(row["reason_code"], row["deliveries"]) for row in deliveries.dead(durable.database)]
    assert [("payload_invalid", 2), ("unparseable", 1)] == groups
    chosen = inbox.Filter(endpoint="shop", reason_code="payload_invalid")
    assert 2 == replay.replay_all(durable, chosen, is_dry=True) == replay.replay_all(durable, chosen)
    assert 0 == replay.replay_all(durable, chosen)
    everything = inbox.Filter()
    with pytest.raises(UsageError, match="say why"):
        replay.discard_all(durable, everything, " ")
    assert 1 == replay.discard_all(durable, everything, "noise", is_dry=True)
    assert 1 == replay.discard_all(durable, everything, "noise", actor="ada")
    (gone,) = inbox.find(durable.database, inbox.Filter(status=["discarded"]), 10)
    assert ("noise", "ada") == (gone.reason, gone.actor)
    with pytest.raises(UsageError, match="is pending"):
        replay.replay(durable, inbox.find(durable.database, inbox.Filter(status=["pending"]), 1)[0].id)


def test_what_was_routed_cannot_be_discarded(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    with pytest.raises(UsageError, match="cancel its runs"):
        replay.discard(durable, deliver("shop", {"n": 1}).id, "why not")
    with pytest.raises(UsageError, match="there is no delivery"):
        replay.discard(durable, new_id(), "why not")


# Endpoints that people make


@pytest.fixture
def elsewhere(durable: Celeriac) -> Endpoints:
    """The endpoints as another process knows them."""
    return Endpoints(durable)


def test_an_endpoint_is_made_without_code_and_serves_in_every_process(durable, deliver, take, elsewhere):
    route_ = {"workflow": "hooks.take", "where": 'type == "a"', "transform": "{n: body.k}"}
    durable.inbox.create("made", "none", [route_], order_by="body.k", limit_bytes=100)
    found = elsewhere.find("made")
    assert ("none", "body.k", 100, True) == (found.preset.name, found.order_by, found.limit_bytes, found.is_stored)
    deliver("made", {"k": 7}, event_type="a")
    assert [("hooks.take", {"n": 7})] == started(durable)
    durable.inbox.create("made", "github", [])  # changed
    durable.inbox.remove("made")
    assert durable.inbox.find("made") is None
    with pytest.raises(UsageError, match="made at run time"):
        durable.inbox.remove("made")


def test_what_code_declares_is_not_changed_at_run_time(durable, take):
    durable.webhook("shop", verify="none", workflow=take)
    with pytest.raises(UsageError, match="declared by code"):
        durable.inbox.create("shop", "github", [])
    with pytest.raises(UnknownWorkflow):
        durable.inbox.create("made", "none", [{"workflow": "hooks.takes"}])
    with pytest.raises(UsageError, match="has no colour"):
        durable.inbox.create("made", "none", [], colour="red")


def test_of_a_query_the_first_value_of_a_name_counts(durable, deliver, take):
    durable.webhook("shop", verify="none", workflow=take)
    row = deliver("shop", {"n": 1}, query="a=1&a=2&b=%20")
    assert {"a": "1", "b": " "} == event_of("shop", row).query
