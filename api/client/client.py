"""The Python client of the API, for programs that are not the Celery app:

    from celeriac.api.client import Client

    client = Client("https://runs.example.org", api_key=...)
    run = client.trigger("sync-customer-data", {"customer_id": "c1"}, tags=["night"])
    print(run.result(timeout=60))

It needs nothing but the standard library: neither Flask nor Celery nor SQLAlchemy is imported. Threads may share one.
A call that failed is made again where that does nothing twice (`transport.py`); what creates carries an Idempotency-Key
that is made once for each call.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack
from urllib.parse import quote

from .. import shapes
from . import stream as client_stream
from .run import RUNS, Run, RunFailed, listed, moment, pages
from .transport import ApiError, Retries, Transport, Unreachable

__all__ = ["ApiError", "Client", "Retries", "Run", "RunFailed", "Unreachable"]

API = "/api/v1"


class Options(TypedDict, total=False):
    """What can be said when a run is started: as `celeriac.trigger` takes it."""

    countdown: float | None
    eta: datetime | str | None
    expires: float | datetime | str | None
    priority: int | None
    queue: str | None
    concurrency_key: str | None
    idempotency_key: str | None
    idempotency_ttl: float | None
    idempotency_scope: str | None
    debounce: shapes.bodies.Debounce | None
    tags: list[str] | None
    metadata: Mapping[str, Any] | None
    max_attempts: int | None
    callback_url: str | None


class Client:
    """The API of one server.

    - url: of the server, as `celeriac dev` prints it; with a path where a proxy has it below one.
    - api_key: None where the server asks for none.
    - timeout: seconds that an answer may take, and a connection.
    - retries: how often a call is made again, and how long it waits before; `Retries(attempts=1)`: never.

    Every method raises ApiError where the server refuses, and Unreachable where it cannot be reached.
    """

    def __init__(
        self,
        url: str = "http://localhost:8484",
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: Retries = Retries(),  # noqa: B008  (it is frozen)
    ):
        self._transport = Transport(url, api_key, timeout, retries)
        self.runs = Runs(self._transport)
        self.schedules = Schedules(self._transport)
        self.queues = Queues(self._transport)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are kept for the next call."""
        self._transport.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:
        """Any call of the API: what it answers, as JSON. `key`: its Idempotency-Key."""
        return self._transport.call(method, path, query=query, body=body, key=key).json()

    def trigger(self, workflow: str, payload: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Run:
        """Starts a run. The options are those of `celeriac.trigger`; moments may be datetimes."""
        body = {"payload": payload or {}, "options": _options(options)}
        path = f"{API}/workflows/{quote(workflow, safe='')}/trigger"
        return Run(self._transport, self.request("POST", path, body))

    def batch(self, workflow: str, payloads: Iterable[Mapping[str, Any]], **options: Unpack[Options]) -> list[Run]:
        """Starts a run for each payload, in their order: all of them or none."""
        body = {"payloads": list(payloads), "options": _options(options)}
        done: shapes.runs.StartedRuns = self.request("POST", f"{API}/workflows/{quote(workflow, safe='')}/batch", body)
        return [Run(self._transport, each) for each in done["runs"]]

    def bulk(self, action: str, filter: Mapping[str, Any], *, key: str | None = None) -> shapes.runs.BulkOrder:
        """Orders that all runs of a filter are moved: `cancel`, `retry` or `replay`."""
        body = {"action": action, "filter": dict(filter)}
        done: shapes.runs.BulkOrder = self.request("POST", f"{API}/bulk", body, key=key)
        return done

    def count(self, action: str, filter: Mapping[str, Any]) -> int:
        """For how many runs such an order would be."""
        body = {"action": action, "filter": dict(filter), "dry_run": True}
        found: shapes.runs.Matched = self.request("POST", f"{API}/bulk", body)
        return found["matched"]

    def send_event(self, name: str, payload: Mapping[str, Any] | None = None, *, key: str | None = None) -> bool:
        """Sends an event to every run that waits for it. False: one with this key was sent before."""
        body = {"name": name, "payload": payload or {}, "key": key}
        done: shapes.runs.SentEvent = self._transport.call("POST", f"{API}/events", body=body).json()
        return not done["duplicate"]

    def complete_token(self, id: str, result: Any = None) -> None:
        """Completes a token with a result."""
        self.request("POST", f"{API}/tokens/{id}/complete", {"result": result})

    def fail_token(self, id: str, error: str) -> None:
        """Completes a token with an error, which the run that waits for it raises."""
        self.request("POST", f"{API}/tokens/{id}/complete", {"error": error})

    def workflows(self) -> list[shapes.catalogue.Workflow]:
        """What can be started, with the JSON Schema of each payload."""
        found: shapes.catalogue.WorkflowList = self.request("GET", f"{API}/workflows")
        return found["workflows"]

    def workers(self) -> list[shapes.catalogue.Worker]:
        """The workers that are alive."""
        found: shapes.catalogue.WorkerList = self.request("GET", f"{API}/workers")
        return found["workers"]


class Runs:
    """`client.runs`"""

    def __init__(self, transport: Transport):
        self._transport = transport

    def get(self, id: str) -> Run:
        """The run of this id. Raises ApiError 404."""
        return Run(self._transport, self._transport.call("GET", f"{RUNS}/{quote(id, safe='')}").json())

    def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        created_from: datetime | str | None = None,
        created_to: datetime | str | None = None,
        **filters: str | int,
    ) -> Iterator[Run]:
        """The runs that fit, newest first; pages are fetched as they are needed. Filters: `workflow`, `tag`, `queue`,
        `concurrency_key`, `source`, `parent_id`; `limit` is the size of a page."""
        several = status if isinstance(status, str) or status is None else ",".join(status)
        moments = {"created_from": moment(created_from), "created_to": moment(created_to)}
        return listed(self._transport, RUNS, {"status": several, **moments, **filters})

    def stream(self, *, after: str | None = None, **filters: str) -> Iterator[shapes.runs.RunChange]:
        """The moves of the runs that fit, as they come, without end; filters as of `list`. `after` is the cursor of an
        earlier stream."""
        for each in client_stream.follow(self._transport, f"{RUNS}/stream", filters, after):
            yield each.data


class Schedules:
    """`client.schedules`"""

    def __init__(self, transport: Transport):
        self._transport = transport

    def list(self, **filters: str | int) -> Iterator[shapes.schedules.Schedule]:
        """The next to fire first. Filters: `workflow`, `external_id`, `origin`, `prefix`, `paused`."""
        yield from pages(self._transport, f"{API}/schedules", "schedules", filters)

    def get(self, key: str) -> shapes.schedules.WholeSchedule:
        """With its next times and newest ticks."""
        found: shapes.schedules.WholeSchedule = self._call("GET", key)
        return found

    def put(self, key: str, **said: Unpack[shapes.bodies.ScheduleBody]) -> shapes.schedules.Schedule:
        """Makes it, or makes it what is said: what is left out has its default."""
        return self._moved("PUT", key, body=said)

    def change(self, key: str, **said: Unpack[shapes.bodies.ScheduleChanges]) -> shapes.schedules.Schedule:
        """Changes what is said, and leaves the rest."""
        return self._moved("PATCH", key, body=said)

    def delete(self, key: str) -> None:
        self._call("DELETE", key)

    def pause(self, key: str, note: str | None = None) -> shapes.schedules.Schedule:
        return self._moved("POST", key, "/pause", {"note": note})

    def resume(self, key: str) -> shapes.schedules.Schedule:
        return self._moved("POST", key, "/resume")

    def run(self, key: str) -> Run | None:
        """Fires it by hand; its next time stays. None where it sends a plain Celery task."""
        done: shapes.schedules.FiredRun = self._call("POST", key, "/run")
        return Run(self._transport, done["run"]) if done["run"] else None

    def _moved(self, method: str, key: str, below: str = "", body: Any = None) -> shapes.schedules.Schedule:
        row: shapes.schedules.Schedule = self._call(method, key, below, body)
        return row

    def _call(self, method: str, key: str, below: str = "", body: Any = None) -> Any:
        return self._transport.call(method, f"{API}/schedules/{quote(key, safe='')}{below}", body=body).json()


class Queues:
    """`client.queues`"""

    def __init__(self, transport: Transport):
        self._transport = transport

    def list(self) -> "list[shapes.queues.Queue]":
        found: shapes.queues.QueueList = self._transport.call("GET", f"{API}/queues").json()
        return found["queues"]

    def get(self, name: str) -> shapes.queues.WholeQueue:
        """With the keys that have most waiting runs, and its newest changes."""
        found: shapes.queues.WholeQueue = self._transport.call("GET", f"{API}/queues/{quote(name, safe='')}").json()
        return found

    def pause(self, name: str, note: str | None = None) -> shapes.queues.Queue:
        """Nothing of it starts any more."""
        return self._moved("POST", name, "/pause", {"note": note})

    def resume(self, name: str) -> shapes.queues.Queue:
        """Ends a pause, and a drain."""
        return self._moved("POST", name, "/resume", {})

    def drain(self, name: str, note: str | None = None) -> shapes.queues.Queue:
        """It takes no new runs, and works off those it has."""
        return self._moved("POST", name, "/drain", {"note": note})

    def limit(self, name: str, **limits: Unpack[shapes.bodies.Limits]) -> shapes.queues.Queue:
        """Overrides limits of the code; None is no limit."""
        return self._moved("PATCH", name, "", {"limits": limits})

    def _moved(self, method: str, name: str, below: str, body: Any) -> shapes.queues.Queue:
        row: shapes.queues.Queue = self._transport.call(
            method, f"{API}/queues/{quote(name, safe='')}{below}", body=body
        ).json()
        return row


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are None, moments as JSON has them."""
    return {
        name: moment(value) if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }
