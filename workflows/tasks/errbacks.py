"""What `link_error` calls: with the id of the task that failed, or, where it takes more, with its request, the
exception, and the traceback."""

import json
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.app.task import Context
from celery.utils.functional import arity_greater

from ...state import runs
from .calls import run_id
from .codec import decode_call
from .results import exception_of

if TYPE_CHECKING:
    from ..application import Celeriac


def errback_arguments(durable: "Celeriac", task: "Task[..., Any]", args: list[Any]) -> list[Any]:
    """Its arguments, of which the first is the id of the task that failed."""
    header = getattr(task, "__header__", None)
    failed = runs.get(durable.database, run_id(args[0]))
    if header is None or failed is None or not arity_greater(header, 1):
        return args
    error, said = json.loads(failed.error or "{}"), json.loads(failed.request or "{}")
    of_args, of_kwargs = decode_call(failed.payload, said.get("serializer"))
    request = Context({
        "id": args[0], "task": failed.workflow, "args": of_args, "kwargs": of_kwargs, "retries": failed.attempt - 1,
        "called_directly": False,
    })  # fmt: skip
    return [request, exception_of(failed, error), error.get("traceback"), *args[1:]]
