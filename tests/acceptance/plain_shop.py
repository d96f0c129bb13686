"""A Celery app without Celeriac, whose only task notes when it begins and passes a gate, as those of the shop."""

import os
import time
from pathlib import Path

from celery import Celery

app = Celery("plain_shop", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(task_default_queue="plain", worker_pool_restarts=True, task_ignore_result=True)

JOURNAL = Path(os.environ["JOURNAL"])
GATES = Path(os.environ["GATES"])


def note(line: str) -> None:
    with JOURNAL.open("a", buffering=1) as journal:
        journal.write(f"{line}\n")


@app.task(name="plain.pass")
def pass_gate(gate: str, password: str = "") -> None:
    note(f"begin {gate}")
    while not (GATES / gate).exists():
        time.sleep(0.005)
    note(f"end {gate}")
