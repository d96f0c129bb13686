"""examples/csv_fan_out.py: a child for each row, and a file with a few wrong rows."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from one_terminal import Dev
from performer import Performer

from celeriac.state import runs, status
from celeriac.state.runs import Filter, RunRow
from celeriac.workflows.testing import Inline, assert_durable

WRONG = ["P017: 'on request' is no price", "P043: '12,50' is no price"]


def finish_family(perform: Performer, run: RunRow) -> RunRow:
    """Executes a parent, and its children whenever it waits for them."""
    while not run.is_final:
        for child in runs.find(perform.database, Filter(workflow="import-price", status=("queued",)), 1000):
            perform.finish(child)
        run = perform.once(perform.row(run.id))
    return run


def test_every_row_is_stored_but_for_the_wrong_ones_which_are_named(example: ModuleType, perform: Performer) -> None:
    done = finish_family(perform, perform.start(example.import_prices, "prices.csv"))
    assert {"rows": 60, "wrong": WRONG} == json.loads(done.output or "")
    assert 58 == perform.database.one("select count(*) as stored from prices")["stored"]


def test_progress_and_count_stand_on_the_run_that_somebody_watches(example: ModuleType, perform: Performer) -> None:
    waiting = perform.once(perform.start(example.import_prices, "prices.csv"))
    first, *_ = runs.find(perform.database, Filter(workflow="import-price"), 1)
    perform.finish(first)
    assert {"stored": 1} == json.loads(perform.row(waiting.id).metadata)
    done = finish_family(perform, waiting)
    progress = {"done": 60, "total": 60, "note": "2 rows are wrong"}
    assert {"stored": 58, "progress": progress} == json.loads(done.metadata)


def test_a_file_with_too_many_wrong_rows_is_given_up_and_the_rows_under_way_are_cancelled(
    example: ModuleType, perform: Performer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"P{n},thing,{'none' if n < 3 else n}" for n in range(30)]
    (tmp_path / "bad.csv").write_text("\n".join(["sku,name,price", *rows]))
    monkeypatch.setattr(example, "DATA", tmp_path)
    waiting = perform.once(perform.start(example.import_prices, "bad.csv"))
    for child in reversed(runs.find(perform.database, Filter(workflow="import-price"), 100)[-3:]):
        perform.finish(child)
    failed = perform.finish(perform.row(waiting.id))
    assert (status.FAILED, "always") == (failed.status, failed.cancel_children)
    assert "'none' is no price" in (failed.error or "")
    assert 17 == len(runs.find(perform.database, Filter(workflow="import-price", status=("queued",)), 100))


def test_wherever_its_worker_dies_every_row_is_stored_once(
    example: ModuleType,
    perform: Performer,
    world: Callable[[], Inline],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "few.csv").write_text("sku,name,price\nP1,pen,1.50\nP2,ink,none\nP3,cap,2.00\n")
    monkeypatch.setattr(example, "DATA", tmp_path)
    told = assert_durable(example.import_prices, "few.csv", world=world, inside_bodies=True)
    assert {"rows": 3, "wrong": ["P2: 'none' is no price"]} == told
    assert 2 == perform.database.one("select count(*) as stored from prices")["stored"]


def test_the_docstrings_commands_import_the_file_across_the_death_of_its_worker(start_dev: Callable[..., Dev]) -> None:
    dev = start_dev("csv_fan_out")
    run = dev.trigger("import-prices", file="prices.csv")
    dev.run_once_it(run, lambda run: run["metadata"].get("stored", 0) > 5)
    os.kill(dev.facts["pids"]["worker"], signal.SIGKILL)
    done = dev.run_once_it(run, lambda run: run["status"] == "completed", seconds=60)
    assert ({"rows": 60, "wrong": WRONG}, 58) == (done["output"], done["metadata"]["stored"])
