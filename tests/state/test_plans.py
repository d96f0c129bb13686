"""Statements that are executed again and again read what they need, and no more, however much is there."""

import re

import pytest

from celeriac.state import outbound, runs, schedules, steps, waits
from celeriac.state.database import Database
from celeriac.state.queries import Statement
from celeriac.state.runs import Filter


def test_the_look_for_due_schedules_does_not_read_those_that_are_not_due(database: Database) -> None:
    database.all(
        "insert into celeriac.schedules (id, key, workflow, kind, expression, timezone, catch_up, payload, "
        "next_due_at) select gen_random_uuid(), 'customer ' || n, 'report', 'every', '60', 'UTC', 'one', '{}', "
        "now() + n * interval '1 minute' from generate_series(1, 5000) as n"
    )
    database.all("analyze celeriac.schedules")
    plan = "\n".join(row["QUERY PLAN"] for row in database.all(f"explain {schedules.SQL.due}", now=None, limit=1000))
    assert "Index Cond: (next_fire_at <=" in plan


def test_lists_of_runs_are_read_in_the_order_of_an_index_and_stop_at_the_page(database: Database) -> None:
    database.all(
        "insert into celeriac.runs (id, workflow, status, cause, max_attempts, max_crashes, queue, payload, root_id, "
        "source, created_at, queued_at, finished_at, output, error, tags) "
        "select id, 'w' || mod(n, 20), case when mod(n, 400) = 0 then 'cancelled' else 'completed' end, 'c', 1, 1, "
        "'q' || mod(n, 20), '{}', id, 'api', at, at, at, case when mod(n, 400) > 0 then '1'::json end, "
        "null, case when mod(n, 400) = 0 then array['rare'] else '{}' end "
        "from (select n, gen_random_uuid() as id, now() - n * interval '1 second' as at "
        "from generate_series(1, 20000) as n) as made"
    )
    database.all("analyze celeriac.runs")
    for filter, index in (
        (Filter(), "runs_newest"),
        (Filter(queue="q3", source="api"), "runs_newest"),
        (Filter(workflow="w3"), "runs_newest_by_workflow"),
        (Filter(status=("cancelled",)), "runs_newest_by_status"),
        (Filter(tag="rare"), "runs_by_tag"),
    ):
        assert re.search(rf"\b{index}\b", _plan(database, filter)), filter


@pytest.mark.parametrize(
    "statement",
    [
        *(getattr(runs.SQL, verb) for verb in (
            "claim", "complete", "complete_and_claim", "fail", "postpone", "suspend", "hand_off", "condemn",
            "conclude", "edit_metadata",
        )),
        steps.SQL.record, waits.SQL.suspend_on, outbound.SQL.hold,
    ],
    ids=lambda statement: statement.handle,
)  # fmt: skip
def test_a_move_of_one_run_reads_that_run_alone_whatever_is_thought_of_the_others(
    database: Database, statement: Statement
) -> None:
    # Where nothing was queued and nothing ran when it was last looked, a partial index is thought to be the cheapest.
    database.all(
        "insert into celeriac.runs (id, workflow, status, cause, max_attempts, max_crashes, queue, payload, root_id, "
        "source, finished_at, output) select id, 'w', 'completed', 'c', 1, 1, 'q', '{}', id, 'api', now(), '1' "
        "from (select gen_random_uuid() as id from generate_series(1, 2000)) as made"
    )
    database.all("analyze celeriac.runs")
    asked = statement.numbered.replace("%", "%%")
    plan = "\n".join(row["QUERY PLAN"] for row in database.all(f"explain (generic_plan) {asked}"))
    assert re.search(r"using runs_pkey on runs|Bitmap Index Scan on runs_pkey", plan), plan
    fit = {"runs_pkey", "runs_queued", "runs_once_by_parent_step"}
    others = set(re.findall(r"\b(?:using|on) (runs_\w+)", plan)) - fit
    assert set() == others, plan
    assert "Seq Scan on runs" not in plan, plan


def _plan(database: Database, filter: Filter) -> str:
    """Of the list that a filter shows."""
    seen: list[str] = []

    class Explaining:
        def all(self, statement: str, /, **values: object) -> list[dict[str, object]]:
            seen.extend(str(row["QUERY PLAN"]) for row in database.all(f"explain {statement}", **values))
            return []

    runs.find(Explaining(), filter, 51)  # type: ignore[arg-type]
    return "\n".join(seen)
