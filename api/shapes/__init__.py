"""What the API takes and answers, as types: `documents.py` makes them, the OpenAPI document is made from them, and the
Python client returns them. So they import neither Flask nor pydantic.

A class's docstring is the description of the schema, a string below a member that of the member.
"""

from . import (
    alerts,
    bodies,
    catalogue,
    keys,
    problems,
    queries,
    queues,
    runs,
    scalars,
    schedules,
    subscriptions,
    traces,
    webhooks,
    workers,
)

__all__ = [
    "alerts",
    "bodies",
    "catalogue",
    "keys",
    "problems",
    "queries",
    "queues",
    "runs",
    "scalars",
    "schedules",
    "subscriptions",
    "traces",
    "webhooks",
    "workers",
]
