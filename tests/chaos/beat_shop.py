"""What the schedules of the beat storm start: a workflow and a plain Celery task, which note what they were for."""

import os
from pathlib import Path

from celery import Celery

from celeriac import Celeriac, current_run, workflow

app = Celery("beat_shop")
durable = Celeriac(app)

JOURNAL = Path(os.environ["JOURNAL"])


def note(kind: str, schedule: str, due: str) -> None:
    """One atomic append."""
    with JOURNAL.open("a", buffering=1) as journal:
        journal.write(f"{kind}|{schedule}|{due}\n")


@workflow(name="noted")
def noted() -> None:
    told = current_run().metadata
    note("workflow", told["schedule"], told["scheduled_for"])


@app.task(name="noted-task", bind=True, ignore_result=True)
def noted_task(self) -> None:
    note("task", self.request.get("celeriac-schedule"), self.request.get("celeriac-scheduled-for"))
