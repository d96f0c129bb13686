"""A signature as a tree: what Celery would do to it when it executes it is done to it before."""

from typing import Any

import pytest
from canvases import tree_of
from celery import Celery, chain, chord, group

from celeriac.workflows.canvas.tree import calls
from celeriac.workflows.errors import NotSerializable, UsageError

app = Celery("trees", set_as_current=False)


@app.task(shared=False, name="t")
def t(*args: Any) -> None: ...


app.finalize()


def call(*args: Any, **others: Any) -> dict[str, Any]:
    return {"task": "t"} | ({"args": list(args)} if args else {}) | others


LINK = {"link": [call(9, kwargs={}, options={}, subtask_type=None, immutable=False)]}


@pytest.mark.parametrize(
    ("canvas", "tree"),
    [
        (t.s(1), call(1)),
        (t.si(1), call(1, immutable=True)),
        (chain(t.s(1), chain(t.s(2), t.s(3))), {"chain": [call(1), call(2), call(3)]}),
        (group(t.s(1), group(t.s(2), t.s(3))), {"group": [call(1), call(2), call(3)]}),
        (group(t.s(1), t.s(2)) | t.s(3), {"header": [call(1), call(2)], "body": call(3)}),
        (t.s(1) | group([t.s(2)]), {"chain": [call(1), call(2)]}),
        (t.s(1) | group([]), {"chain": [call(1)]}),
        (t.map([1, 2]), {"map": call(), "items": [[1], [2]]}),
        (t.starmap([(1, 2)]), {"map": call(), "items": [[1, 2]]}),
        (
            t.chunks([(1,), (2,), (3,)], 2),
            {"group": [{"map": call(), "items": [[1], [2]]}, {"map": call(), "items": [[3]]}]},
        ),
        (group(t.s(n) for n in range(2)), {"group": [call(0), call(1)]}),
        (chord([t.s(1)], t.s(2) | t.s(3)), {"header": [call(1)], "body": {"chain": [call(2), call(3)]}}),
        (chord([t.s(1)], t.s(2)).clone(args=(0,)), {"header": [call(0, 1)], "body": call(2)}),
    ],
)
def test_trees(canvas: Any, tree: Any) -> None:
    assert tree == tree_of(canvas)


def test_options_are_those_that_celery_would_give_each_node() -> None:
    queue = {"options": {"queue": "q"}}
    assert {"chain": [call(1, **queue), call(2)]} == tree_of(chain(t.s(1), t.s(2)).set(queue="q"))
    assert {"group": [call(1, **queue), call(2, **queue)]} == tree_of(group(t.s(1), t.s(2)).set(queue="q"))
    delayed = chord([t.s(1)], t.s(2)).set(queue="q", countdown=3)
    assert {"header": [call(1, options={"queue": "q", "countdown": 3})], "body": call(2, **queue)} == tree_of(delayed)


def test_a_link_is_that_of_the_end_and_an_errback_that_of_every_task() -> None:
    canvas = chain(t.s(1), t.s(2))
    canvas.link(t.s(9))
    assert {"chain": [call(1), call(2, options=LINK)]} == tree_of(canvas)
    canvas = chain(t.s(1), t.s(2))
    canvas.link_error(t.s(9))
    told = {"options": {"link_error": LINK["link"]}}
    assert {"chain": [call(1, **told), call(2, **told)]} == tree_of(canvas)


def test_what_an_execution_of_plain_celery_wrote_into_a_signature_is_left_out() -> None:
    canvas = chain(t.s(1), t.s(2))
    canvas.freeze()
    assert {"chain": [call(1), call(2)]} == tree_of(canvas)


def test_each_call_is_known_by_its_path() -> None:
    canvas = chain(t.s(), group(t.s(), t.s() | t.s()), chord([t.s()], t.s()), t.map([1]))
    assert ["0", "1.h.0", "1.h.1.0", "1.h.1.1", "1.b.h.0"] == [path for path, _ in calls(tree_of(canvas))][:5]
    assert ["0.g.0", "0.g.1"] == [path for path, _ in calls(tree_of(group(t.s(), t.s())))]
    assert ["0"] == [path for path, _ in calls(tree_of(t.s()))]


@pytest.mark.parametrize(
    ("canvas", "error", "told"),
    [
        (chain, UsageError, "node '0' of a canvas is an empty chain"),
        (lambda: t.s(1) | t.s(print), NotSerializable, r"node '1' \(t\)"),
        (lambda: group(t.s(1), t.s(2) | t.s(print)), NotSerializable, r"node '0.g.1.1' \(t\)"),
        (lambda: t.map([1, print]), NotSerializable, r"items of node '0' \(t\)"),
        (lambda: group(t.s(1), t.s(2)).set(link=t.s(3)), UsageError, "write a chord"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_path(canvas: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        tree_of(canvas())
