"""Errors, and what is tried again."""

from celeriac import Abort, Retry, RetryAfter, sleep, step, workflow
from celeriac.workflows.errors import StepError

from .journal import do, note

AT_ONCE = {"min_delay": 0.01, "max_delay": 0.01}
LATER = {"min_delay": 0.4, "max_delay": 0.4, "jitter": False}  # longer than the stage's in_place_delay_seconds


@step(retry=Retry(max_attempts=3, **AT_ONCE))
def third_time() -> str:
    if note("try") < 3:
        raise ConnectionError("away")
    return "here"


@workflow(name="retries.step")
def of_a_step() -> str:
    return third_time()


@step(retry=Retry(max_attempts=3, **AT_ONCE))
def never() -> None:
    note("try")
    raise KeyError("never")


@workflow(name="retries.caught")
def caught() -> list[str]:
    seen = []
    try:
        never()
    except KeyError as error:
        if isinstance(error, StepError):  # it is both
            seen += [type(error).__name__, error.step, str(error)]
    sleep(0.01)
    return seen


@workflow(name="retries.spent")
def spent() -> None:
    never()


@step(retry=Retry(max_attempts=9))
def aborts() -> None:
    note("try")
    raise Abort("the card is stolen")


@workflow(name="retries.abort")
def aborted() -> None:
    aborts()


@step(retry=Retry(max_attempts=9, give_up_on=(PermissionError,)))
def forbidden() -> None:
    note("try")
    raise PermissionError("no")


@workflow(name="retries.give-up-on")
def given_up() -> None:
    forbidden()


@step(retry=Retry(max_attempts=2, min_delay=3600, max_delay=3600))
def asks_for_time() -> str:
    if note("try") < 2:
        raise RetryAfter(0.4)
    return "in time"


@workflow(name="retries.retry-after")
def retry_after() -> str:
    return asks_for_time()


@step(retry=Retry(max_attempts=2, **LATER))
def second_time() -> str:
    if note("try") < 2:
        raise ConnectionError("away")
    return "here"


@workflow(name="retries.later")
def later() -> str:
    return second_time()


@workflow(name="retries.run", retry=Retry(max_attempts=3, **LATER))
def of_a_run() -> str:
    do("kept")
    if note("try") < 3:
        raise RuntimeError("plain code may fail, too")
    return "in the end"
