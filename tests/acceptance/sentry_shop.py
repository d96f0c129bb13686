"""A Celery app with Sentry as Sentry's own pages say; what it would send stands in a file, a line for each event."""

import json
import os
from pathlib import Path
from typing import Any

import sentry_sdk
from celery import Celery
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

from celeriac import Celeriac, step, workflow

app = Celery("sentry_shop")


class ToFile(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            event: Any = item.get_event() or item.get_transaction_event()
            if event is not None:
                told = {
                    "type": event.get("type", "error"),
                    "transaction": event.get("transaction"),
                    "task": event.get("extra", {}).get("celery-job", {}).get("task_name"),
                    "errors": [each["value"] for each in event.get("exception", {}).get("values", ())],
                }
                with Path(os.environ["JOURNAL"]).open("a") as journal:
                    journal.write(json.dumps(told) + "\n")


sentry_sdk.init(
    dsn="https://key@sentry.example.org/1",
    transport=ToFile,
    integrations=[CeleryIntegration()],
    default_integrations=False,
    traces_sample_rate=1.0,
)
durable = Celeriac(app)


@app.task(name="plain", ignore_result=True)
def plain() -> None:
    raise LookupError("of a plain task")


@step
def charge() -> None:
    raise ValueError("no such card")


@workflow(name="pays")
def pays() -> None:
    charge()


@workflow(name="greets")
def greets(n: int) -> int:
    return n
