"""Runs that start runs."""

from celeriac import Queue, current_run, gather, receive, sleep, step, workflow
from celeriac.workflows.errors import RunFailed

from .journal import GATES, do, note


@workflow(name="children.square")
def square(n: int) -> int:
    note(f"square {n}")
    return n * n


@workflow(name="children.odd")
def odd(n: int) -> int:
    if n % 2 == 0:
        raise ValueError(f"{n} is even")
    return n


@workflow(name="children.patient")
def patient(name: str) -> str:
    """Ends when it is told to."""
    return f"{name} {receive()}"


@workflow(name="children.one")
def one() -> int:
    child = square.delay(3)
    do("meanwhile")
    sleep(0.01)
    return child.result()


@workflow(name="children.fan-out")
def fan_out(width: int) -> list[int]:
    return gather(*square.map(range(width)))


@workflow(name="children.nested", queue=Queue("nested", concurrency=1))
def nested(depth: int) -> int:
    return 1 + nested.delay(depth - 1).result() if depth else 0


@workflow(name="children.first")
def first_two() -> list[list[str]]:
    seen = gather(*[patient.delay(name) for name in "abc"], first=2)
    sleep(0.01)
    return [seen]


@workflow(name="children.tolerate")
def tolerate(tolerated: int) -> list[str]:
    return [str(each) for each in gather(*odd.map([1, 2, 3]), tolerate=tolerated)]


@workflow(name="children.errors-as-values")
def as_values() -> list[str]:
    return [type(each).__name__ for each in gather(*odd.map([1, 2, 4]), return_exceptions=True)]


@workflow(name="children.fail-fast")
def fail_fast() -> str:
    slow = patient.delay("slow")
    try:
        gather(slow, odd.delay(2))
    except RunFailed as error:
        return f"{error.type}: {error.message}"
    return "nothing was raised"


@workflow(name="children.catches")
def catches() -> str:
    try:
        odd.delay(2).result()
    except RunFailed as error:
        return f"{error.type}: {error.message}"
    return "nothing was raised"


@step
def heals(n: int) -> int:
    if not (GATES / f"{current_run().id} heal").exists():
        raise ConnectionError(f"{n} is away")
    return n


@workflow(name="children.fragile")
def fragile(n: int) -> int:
    do("kept")
    return heals(n)


@workflow(name="children.middle")
def middle(n: int) -> int:
    return fragile.delay(n).result()


@workflow(name="children.relies")
def relies(width: int) -> list[int]:
    do("kept")
    return gather(*middle.map(range(width)))


@workflow(name="children.family", cancel_children="always")
def family(is_failing: bool) -> None:
    patient.map(["a", "b"])
    if is_failing:
        raise ValueError("a parent's own fault")
    receive("never")


@step
def starts_a_run() -> str:
    return square.delay(5).id


@workflow(name="children.of-a-step")
def of_a_step() -> str:
    return starts_a_run()
