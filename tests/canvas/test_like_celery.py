"""Random canvases give what plain Celery gives. Where it does not, docs/celery.md says so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import celery
import pytest
from canvases import Player, canvases, tree_of
from celery import Celery, chord, group, signature
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

app = Celery("like_celery", set_as_current=False, broker="memory://", backend="cache+memory://")


@app.task(shared=False)
def mix(*args: Any, **kwargs: Any) -> list[Any]:
    return [*args, *kwargs.values()]


app.finalize()


@contextmanager
def current(app: Celery) -> Iterator[None]:
    """Before 5.7 the current app is asked, and not that of the tasks, whether it has a backend for a chord."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celery._state._tls, "current_app", app)
        yield


def has_a_group_in_a_group(canvas: Any) -> bool:
    """Workers put the members of such a group in a header in the reverse order, see docs/celery.md."""
    kwargs = canvas["kwargs"]
    members = list(kwargs.get("tasks", kwargs.get("header", ())))
    others = [kwargs["body"]] if "body" in kwargs else []
    is_joined = canvas["task"] in ("celery.group", "celery.chord")
    return any(
        (is_joined and each in members and each["task"] == "celery.group") or has_a_group_in_a_group(each)
        for each in [*members, *others]
    )


# Before 5.7 a group that is executed eagerly reverses them too.
REVERSED = group([mix.s(), chord([mix.s(0), group([mix.s(1), mix.s(2)])], mix.s())])
IS_EAGER_REVERSED = [[], [[[0], [1], [2]]]] != REVERSED.clone().apply().get()


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    canvases(mix, singles=False).filter(lambda drawn: not (IS_EAGER_REVERSED and has_a_group_in_a_group(drawn))),
    st.integers(0, 5),
)
def test_random_canvases_give_what_celery_gives_that_executes_them_eagerly(canvas: Any, seed: int) -> None:
    with current(app):
        expected = json.loads(json.dumps(canvas.clone().apply().get()))
    assert expected == Player({mix.name: mix.run}, seed).play(tree_of(canvas))


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="there a worker of plain Celery loses results of its own")
@settings(
    max_examples=40,
    derandomize=True,  # Celery has corners of its own: what is new is looked for by hand, with more examples
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.generate],  # to find a smaller one takes longer than a test may
)
@given(st.data())
def test_random_canvases_give_what_a_worker_of_plain_celery_gives(tasks: Any, data: Any) -> None:
    canvas = data.draw(canvases(tasks.mix, depth=2).filter(lambda drawn: not has_a_group_in_a_group(drawn)))
    pending = canvas.clone().apply_async()
    durable = of_durable_tasks(canvas, tasks).apply_async()
    run = tasks.durable.canvas(canvas)
    assume(pending is not None)  # a chain of empty groups alone: Celery has no result to wait for
    expected = pending.get(timeout=20)
    assert expected == run.result(timeout=20)
    assert expected == durable.get(timeout=20)


def of_durable_tasks(canvas: Any, tasks: Any) -> Any:
    """The same canvas, called as Celery's callers call it, which is durable because its tasks are."""
    text = json.dumps(canvas).replace(f'"{tasks.mix.name}"', f'"{tasks.mix_durably.name}"')
    return signature(json.loads(text), app=tasks.app)
