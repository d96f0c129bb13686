"""examples/order_saga.py: what was done is undone where the order does not come to its end."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from one_terminal import Dev
from performer import Performer

from celeriac.state import repairs, runs, status
from celeriac.workflows.testing import Inline, assert_durable


def order(example: ModuleType, **changes: Any) -> Any:
    return example.Order(**({"id": "o1", "item": "book", "cents": 2500, "city": "Oslo"} | changes))


def pieces(perform: Performer) -> int:
    return int(perform.database.one("select pieces from stock where item = 'book'")["pieces"])


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """`bank(words, do)`: once, when the bank of the outside world says these words, something happens."""

    def watch(words: str, do: Callable[[], Any]) -> None:
        left = [do]
        monkeypatch.setattr("builtins.print", lambda told: left.pop()() if words in told and left else None)

    return watch


def test_an_order_that_can_be_shipped_undoes_nothing(example: ModuleType, perform: Performer) -> None:
    done = perform(example.place_order, order(example))
    assert {"order_id": "o1", "receipt": "receipt-o1", "parcel": "parcel-o1"} == json.loads(done.output or "")
    assert ["charge", "reserve", "ship"] == list(perform.steps(done))
    assert 4 == pieces(perform)


def test_an_order_that_nobody_ships_is_undone_in_reverse_and_says_sorry(
    example: ModuleType, perform: Performer
) -> None:
    failed = perform(example.place_order, order(example, city="Atlantis"))
    assert status.FAILED == failed.status
    recorded = perform.steps(failed)
    assert ["charge", "reserve", "ship", "reserve#undo", "charge#undo"] == list(recorded)
    assert ('"refund of receipt-o1"', 5) == (recorded["charge#undo"].output, pieces(perform))
    (hook,) = runs.of_source(perform.database, "hook", f"run_{failed.id.hex}")
    assert '"Sorry for o1: no carrier goes to Atlantis"' == perform.finish(hook).output


def test_a_sold_out_item_gives_the_money_back_and_touches_no_stock(example: ModuleType, perform: Performer) -> None:
    perform.database.all("update stock set pieces = 0 where item = 'book'")
    failed = perform(example.place_order, order(example))
    assert (status.FAILED, 0) == (failed.status, pieces(perform))
    assert ["charge", "reserve", "charge#undo"] == list(perform.steps(failed))


def test_a_worker_that_dies_while_it_undoes_leaves_the_rest_to_the_next(
    example: ModuleType, perform: Performer, bank: Callable[..., None]
) -> None:
    def die() -> None:
        raise SystemExit(-247)

    run = perform.start(example.place_order, order(example, city="Atlantis"))
    bank("the bank returns", die)
    with pytest.raises(SystemExit):
        perform.once(run)
    assert (5, status.RUNNING) == (pieces(perform), perform.row(run.id).status)
    perform.lose_worker()
    assert status.FAILED == perform.finish(perform.row(run.id)).status
    assert (5, "completed") == (pieces(perform), perform.steps(run)["charge#undo"].status)


def test_wherever_its_worker_dies_an_order_is_undone_once(
    example: ModuleType, perform: Performer, world: Callable[[], Inline]
) -> None:
    plays: list[Inline] = []

    def another() -> Inline:
        plays.append(world())
        return plays[-1]

    assert_durable(example.place_order, order(example, city="Atlantis"), world=another)
    assert 9 == len(plays)
    assert 5 == pieces(perform)


def test_one_order_is_placed_once(example: ModuleType, perform: Performer) -> None:
    first, again = (perform.start(example.place_order, order(example)) for _ in range(2))
    assert first.id == again.id


def test_an_order_that_is_cancelled_while_the_bank_is_asked_goes_no_further_and_gets_its_money_back(
    example: ModuleType, perform: Performer, bank: Callable[..., None]
) -> None:
    run = perform.start(example.place_order, order(example))
    bank("the bank takes", lambda: repairs.cancel(perform.database, run.id))
    assert status.CANCELLED == perform.finish(run).status
    assert (["charge", "charge#undo"], 5) == (list(perform.steps(run)), pieces(perform))


def test_the_docstrings_commands_place_an_order_and_undo_another(start_dev: Callable[..., Dev]) -> None:
    dev = start_dev("order_saga")
    good = dev.trigger("place-order", order={"id": "o1", "item": "book", "cents": 2500, "city": "Oslo"})
    bad = dev.trigger("place-order", order={"id": "o2", "item": "book", "cents": 2500, "city": "Atlantis"})
    assert "parcel-o1" == dev.run_once_it(good, lambda run: run["output"])["output"]["parcel"]
    dev.run_once_it(bad, lambda run: run["status"] == "failed")
    undone = [each["key"] for each in dev.call(f"/api/v1/runs/{bad}/steps")[1]["steps"] if "undo" in each["key"]]
    assert ["reserve#undo", "charge#undo"] == undone
    [hook] = dev.call("/api/v1/runs?workflow=apologize")[1]["runs"]
    told = dev.run_once_it(hook["id"], lambda run: run["status"] == "completed")
    assert "Sorry for o2: no carrier goes to Atlantis" == told["output"]
