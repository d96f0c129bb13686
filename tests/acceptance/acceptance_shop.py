"""The Celery app that the acceptance tests run in real worker processes.

Every step notes its beginning in the journal, and passes its gate: a file that the test makes.
"""

import logging
import os
import signal
import time
from pathlib import Path

from celery import Celery, signals
from celery.utils.log import get_task_logger

from celeriac import Celeriac, Cron, Every, Queue, Retry, gather, receive, sleep, step, wait_for_event, workflow
from celeriac.workflows.worker import Lifeline, bootsteps

app = Celery("acceptance_shop")
durable = Celeriac(app)
log = logging.getLogger("acceptance")
task_log = get_task_logger("acceptance.tasks")

JOURNAL = Path(os.environ["JOURNAL"])
GATES = Path(os.environ["GATES"])


if "SILENT" in os.environ:  # Celery does not always say that a process died, see lifeline.py
    Lifeline.lost_child = lambda *_: None  # type: ignore[method-assign]


if "DEAF_AFTER_SECONDS" in os.environ:
    bootsteps.DEAF_AFTER_SECONDS = float(os.environ["DEAF_AFTER_SECONDS"])


@signals.task_prerun.connect
def note_prerun(task_id: str, **_: object) -> None:
    with JOURNAL.with_name("preruns").open("a") as preruns:
        preruns.write(f"{task_id}\n")


def note(line: str) -> None:
    """One atomic append."""
    with JOURNAL.open("a", buffering=1) as journal:
        journal.write(f"{line}\n")


def pass_gate(name: str) -> None:
    while not (GATES / name).exists():
        time.sleep(0.005)


@app.task(name="plain.pass")
def passes_plainly(gate: str) -> None:
    """No workflow: what a worker has beside them."""
    note(f"begin {gate}")
    pass_gate(gate)
    note(f"end {gate}")


@step
def numbered(n: int) -> int:
    note(f"{n} {os.getpid()}")
    pass_gate(str(n))
    return n


@workflow(name="five-steps", queue=Queue("five"))
def five_steps() -> list[int]:
    return [numbered(n) for n in range(1, 6)]


@step
def nothing(n: int) -> None:
    note(f"nothing {n}")
    pass_gate(str(n))


@workflow(name="steps-that-return-none")
def steps_that_return_none() -> str:
    nothing(1)
    nothing(2)
    return "done"


@step
def begin_and_end(n: int) -> None:
    note("begin")
    time.sleep(0.05)
    note("end")


@workflow(name="limited", queue=Queue("limited", concurrency=3))
def limited(n: int) -> int:
    begin_and_end(n)
    begin_and_end(n)
    return n


@workflow(name="quick")
def quick(n: int) -> int:
    return n


@step
def die() -> None:
    note("die")
    os.kill(os.getpid(), signal.SIGKILL)


@workflow(name="poison", max_crashes=3)
def poison() -> None:
    die()


@workflow(name="returns-an-object")
def returns_an_object() -> object:
    return object()


@workflow(name="returns-a-nul")
def returns_a_nul() -> str:
    return "a\0b"


@workflow(name="returns-a-surrogate")
def returns_a_surrogate() -> str:
    return "\ud800"


@workflow(name="raises-in-odd-characters")
def raises_in_odd_characters() -> None:
    raise ValueError("nul \0 and surrogate \ud800")


@step(retry=Retry(max_attempts=3, min_delay=1.5, max_delay=1.5, jitter=False))
def fails_twice() -> str:
    note("try")
    if len(JOURNAL.read_text().split()) < 3:
        raise ConnectionError("not yet")
    return "at last"


@workflow(name="retries-later")
def retries_later() -> str:
    return fails_twice()


@workflow(name="sleeps")
def sleeps() -> str:
    numbered(1)
    sleep(0.3)
    numbered(2)
    return "rested"


@workflow(name="child")
def child(n: int) -> int:
    note(f"child {n}")
    return n


@workflow(name="parent")
def parent() -> None:
    child.delay(7)
    numbered(1)


@workflow(name="ticking", schedule=[Every(seconds=1), Cron("* * * * *", timezone="Europe/Berlin")])
def ticking() -> None:
    with JOURNAL.with_name("ticks").open("a") as ticks:
        ticks.write("tick\n")


@app.task(name="plain", bind=True, ignore_result=True)
def plain(self) -> None:
    note(f"plain {self.request.get('celeriac-scheduled-for')}")


app.conf.beat_schedule = {"plain": {"task": "plain", "schedule": 1.0}}


@workflow(name="of-a-tenant", queue=Queue("tenants", concurrency=2, per_key=1), concurrency_key="tenant")
def of_a_tenant(tenant: str, n: int) -> int:
    note(f"{tenant} {n}")
    return n


@workflow(name="nested", queue=Queue("nested", concurrency=1))
def nested(depth: int) -> int:
    return 1 + nested.delay(depth - 1).result() if depth else 0


@workflow(name="fan-out")
def fan_out(width: int) -> int:
    return sum(gather(*quick.map(range(width))))


@workflow(name="paid-order")
def paid_order(order: str) -> str:
    payment = wait_for_event("paid", where={"order": order})
    return f"{order}: {payment['amount']}, {receive()}"


@workflow(name="paced", queue=Queue("paced", rate="5/s"))
def paced(n: int) -> int:
    note(f"paced {n}")
    return n


@step
def speaks(n: int) -> int:
    log.info("step %d speaks", n, extra={"n": n})
    task_log.info("step %d speaks as tasks do", n)
    print(f"step {n} prints")
    pass_gate(str(n))
    return n


@workflow(name="talkative")
def talkative() -> int:
    log.info("begins")
    return sum(speaks(n) for n in (1, 2))


durable.webhook("github", verify="github", secret="It's a Secret to Everybody")(quick)
