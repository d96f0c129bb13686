"""A large group starts in pages, and is counted by Postgres: its canvas is executed three times, whatever its size."""

from celery import chord

from celeriac.state import runs
from celeriac.workflows.canvas.canvas import PAGE

SIZE = 2 * PAGE + 10


def test_a_chord_of_a_thousand_executes_its_canvas_three_times_at_most(tasks):
    run = tasks.durable.canvas(chord([tasks.add.s(n, 1) for n in range(SIZE)], tasks.total.s()))
    assert sum(range(SIZE)) + SIZE == run.result(timeout=120)
    moves = [line["to_status"] for line in runs.history(tasks.durable.database, run.row.id)]
    assert moves.count("running") <= 3  # twice where the body has ended before the canvas could wait for it
    begun = tasks.durable.database.all(
        "select started_at, count(*) as calls from celeriac.steps where run_id = %(id)s and key like '0.h.%%' "
        "group by 1 order by 1",
        id=run.row.id,
    )
    assert [PAGE, PAGE, 10] == [page["calls"] for page in begun]
