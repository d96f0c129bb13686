"""Statements that are executed again and again read what they need, and no more, however much is there."""

from celeriac.state import schedules
from celeriac.state.database import Database


def test_the_look_for_due_schedules_does_not_read_those_that_are_not_due(database: Database) -> None:
    database.all(
        "insert into celeriac.schedules (id, key, workflow, kind, expression, timezone, catch_up, payload, "
        "next_due_at) select gen_random_uuid(), 'customer ' || n, 'report', 'every', '60', 'UTC', 'one', '{}', "
        "now() + n * interval '1 minute' from generate_series(1, 5000) as n"
    )
    database.all("analyze celeriac.schedules")
    plan = "\n".join(row["QUERY PLAN"] for row in database.all(f"explain {schedules.SQL.due}", now=None, limit=1000))
    assert "Index Cond: (next_fire_at <=" in plan
