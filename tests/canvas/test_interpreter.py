"""What a canvas does next, without a server: what is due, what is waited for, and how few walks that takes."""

import json
from typing import Any

import pytest
from canvases import Player, tree_of
from celery import Celery, chain, chord, group

from celeriac.workflows.canvas.interpreter import Blocked, Broken, Ended, Open, evaluate

app = Celery("interpreted", set_as_current=False)


@app.task(shared=False, name="add")
def add(*numbers: int) -> int:
    return sum(numbers)


@app.task(shared=False, name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(shared=False, name="fail")
def fail(*_: Any) -> None:
    raise ValueError


app.finalize()
FUNCTIONS = {task.name: task.run for task in (add, total, fail)}


def player(canvas: Any) -> tuple[Player, Any]:
    playing = Player(FUNCTIONS)
    return playing, playing.play(tree_of(canvas))


def state(canvas: Any, **outcomes: Any) -> Any:
    """After calls ended with these results; their paths written with `_` for each dot, and `p` before them."""
    known = {path[1:].replace("_", "."): json.dumps(value) for path, value in outcomes.items()}

    def look(path: str, *_: Any) -> Ended | Open:
        return Ended(json.loads(known[path])) if path in known else Open((path,))

    tree = tree_of(canvas)
    return evaluate(tree, "" if "chain" in tree else "0", [], look)


def test_a_link_of_a_chain_blocks_what_comes_after_it_and_its_last_one_does_not() -> None:
    canvas = chain(add.s(1), add.s(2))
    assert Blocked((("0",),)) == state(canvas)
    assert Open(("1",)) == state(canvas, p0=1)
    assert Ended(3) == state(canvas, p0=1, p1=3)


def test_a_header_is_one_join_that_is_complete_when_all_of_it_has_ended() -> None:
    canvas = chord([add.s(1), add.s(2), add.s(3)], total.s())
    assert (("0.h.0", "0.h.2"), 2) == (state(canvas, p0_h_1=2).paths, state(canvas, p0_h_1=2).needed)


def test_only_what_can_go_on_is_waited_for() -> None:
    """A member that is at its end enables nothing while another one is in its middle."""
    canvas = chord([add.s(1), add.s(2), chain(add.s(3), add.s(4))], total.s())
    assert Blocked((("0.h.2.0",),)) == state(canvas)
    assert Blocked((("0.h.0", "0.h.1", "0.h.2.1"),)) == state(canvas, p0_h_2_0=3)


def test_of_several_joins_the_smallest_says_how_many_have_to_end() -> None:
    canvas = group(chord([add.s(1), add.s(2)], total.s()), chord([add.s(1), add.s(2), add.s(3)], total.s()))
    assert (5, 2) == (len(state(canvas).paths), state(canvas).needed)


@pytest.mark.parametrize("size", [3, 300])
def test_a_chord_of_any_size_takes_three_walks(size: int) -> None:
    playing, result = player(chord([add.s(n) for n in range(size)], total.s()))
    assert (sum(range(size)), 3) == (result, playing.walks)


def test_where_a_member_fails_the_others_go_on_to_their_ends() -> None:
    playing, result = player(group(fail.s(), chain(add.s(1), add.s(2), add.s(3)), chain(fail.s(), add.s(1))))
    assert Broken(("0.g.0", "0.g.2.0")) == result
    assert ["0.g.0", "0.g.1.0", "0.g.1.1", "0.g.1.2", "0.g.2.0"] == sorted(playing.executed)


def test_a_body_is_not_called_where_its_header_failed_and_its_errbacks_are_named_once() -> None:
    body = group(add.s(), add.s(1))
    body.link_error(total.s())
    _, result = player(chord([fail.s(), fail.s()], body))
    assert ("0.h.0", "0.h.1") == result.paths
    assert [("0.e.0", "total")] == [(path, errback["task"]) for path, errback in result.errbacks]


def test_a_walk_with_the_same_results_says_the_same() -> None:
    canvas = group(add.s(1), chain(add.s(1), group(add.s(2), add.s(3)) | total.s()))
    playing, result = player(canvas)
    again = Player({})
    again.outcomes = playing.outcomes
    assert ([1, 7], [1, 7]) == (result, again.play(tree_of(canvas)))
