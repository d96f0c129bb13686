"""The webhook endpoints that there are: those of this process's code, and those that people made, which are looked up
in Postgres now and then. What an operator does with one."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...state import deliveries, endpoints
from ...state.database import Revisions, Row
from ...state.errors import RevisionConflict, StateUnavailable
from ..declaration import declaration_of
from ..errors import UsageError
from .webhook import Endpoint, make_endpoint

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0  # for so long a look at Postgres is believed; while it is away, for as long as that takes
OPTIONS = (
    "header", "events", "respond", "order_by", "order_timeout", "split", "split_key", "limit_bytes", "options", "spool",
)  # fmt: skip
ROUTE_OPTIONS = ("workflow", "event", "where", "transform", "name")


class Endpoints:
    """The endpoints as one process knows them."""

    def __init__(self, durable: "Celeriac"):
        self._durable = durable
        self._stored: dict[str, Endpoint] = {}
        self._looked_at: float | None = None  # monotonic

    def find(self, name: str) -> Endpoint | None:
        """The endpoint of this name. Raises StateUnavailable where the code has none, and Postgres was never asked."""
        return self._durable.endpoints.get(name) or self.stored().get(name)

    def all(self) -> dict[str, Endpoint]:
        """All of them, by name; the code's own win."""
        return {**self.stored(), **self._durable.endpoints}

    def stored(self) -> Mapping[str, Endpoint]:
        """Those that people made."""
        if self._looked_at is None or time.monotonic() - self._looked_at > FRESH_SECONDS:
            try:
                rows = [row for row in endpoints.every(self._durable.database) if row["is_stored"]]
            except StateUnavailable:
                if self._looked_at is None:
                    raise
                return self._stored
            self._stored = {row["name"]: endpoint for row in rows if (endpoint := _read(row)) is not None}
            self._looked_at = time.monotonic()
        return self._stored

    def forget(self) -> None:
        """What was looked up is looked up again."""
        self._looked_at = None

    def create(
        self,
        name: str,
        verify: str,
        routes: Sequence[Mapping[str, Any]],
        revisions: Revisions = None,
        **options: Any,
    ) -> Row:
        """Makes an endpoint without code, or changes one; with `revisions` only while it is at one of them, else
        RevisionConflict is raised. Raises UsageError where it cannot be, or code declares it."""
        if "verify_token" in options.get("options", {}):
            raise UsageError("verify_token is a secret, and would be stored as it is: declare this endpoint in code")
        endpoint = _made(name, verify, routes, options)
        for route in endpoint.routes:
            if route.workflow is not None:
                self._durable.target(route.workflow)  # raises UnknownWorkflow
        row = None if name in self._durable.endpoints else endpoints.create(
            self._durable.database, declaration_of(endpoint), revisions
        )  # fmt: skip
        if row is None:
            self._check_seen(name, revisions)
            raise UsageError(f"webhook endpoint {name!r} is declared by code: change it there")
        self._durable.database.after_commit(self.forget)
        return row

    def remove(self, name: str, revisions: Revisions = None) -> None:
        """Raises UsageError where no person made it, RevisionConflict."""
        if endpoints.remove(self._durable.database, name, revisions) is None:
            if revisions is not None:
                self._check_seen(name, revisions)
            raise UsageError(
                f"there is no webhook endpoint {name!r} that was made at run time: code declares the others"
            )
        self._durable.database.after_commit(self.forget)

    def row(self, name: str) -> Row:
        """Its row; one that the code declares and nobody has registered yet is registered. Raises UsageError."""
        if (row := endpoints.get(self._durable.database, name)) is not None and row["config"] != "{}":
            return row
        endpoint = self._durable.endpoints.get(name)
        if endpoint is not None:
            endpoints.register(self._durable.database, [declaration_of(endpoint)])
            row = endpoints.get(self._durable.database, name)
        if row is None:
            raise UsageError(f"there is no webhook endpoint named {name!r}")
        return row

    def pause(self, name: str, actor: str | None = None, note: str | None = None, revisions: Revisions = None) -> Row:
        """From now on its deliveries are accepted, and held. Raises RevisionConflict."""
        self.row(name)
        paused = endpoints.pause(self._durable.database, name, actor, note, revisions)
        return paused or self._check_seen(name, revisions)

    def resume(self, name: str, revisions: Revisions = None) -> tuple[Row, int]:
        """What was held is routed, in its order: the endpoint, and how many those are. Raises RevisionConflict."""
        self.row(name)
        with self._durable.database.transaction() as transaction:
            resumed = endpoints.resume(transaction, name, revisions) or self._check_seen(name, revisions)
            return resumed, deliveries.release(transaction, name)

    def _check_seen(self, name: str, revisions: Revisions) -> Row:
        """Its row. Raises RevisionConflict where that is at none of these revisions, UsageError where there is none."""
        row = self.row(name)
        if revisions is not None and row["revision"] not in revisions:
            raise RevisionConflict(
                f"webhook endpoint {name!r} was changed since you looked at it: nothing was changed, look at it again",
                row["revision"],
            )
        return row


def _read(row: Row) -> Endpoint | None:
    """An endpoint as it was stored; None where this code cannot read it, which a newer one may have written."""
    config = json.loads(row["config"])
    options = {
        "header": config.get("header"),
        "events": config.get("events"),
        "respond": config.get("respond_seconds"),
        "order_by": config.get("order_by"),
        "order_timeout": config.get("order_timeout_seconds"),
        "split": config.get("split"),
        "split_key": config.get("split_key"),
        "limit_bytes": config.get("limit_bytes"),
        "options": config.get("options"),
        "spool": config.get("spool"),
    }
    try:
        given = {name: value for name, value in options.items() if value is not None}
        return _made(row["name"], row["preset"], config.get("routes", ()), given)
    except UsageError as error:
        log.error("the stored webhook endpoint %s cannot be served: %s", row["name"], error)
        return None


def _made(name: str, verify: str, routes: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Endpoint:
    if unknown := set(options) - set(OPTIONS):
        raise UsageError(f"a webhook endpoint has no {', '.join(sorted(unknown))}; it has {', '.join(OPTIONS)}")
    endpoint = make_endpoint(name, verify=verify, is_stored=True, **options)
    for route in routes:
        given = {key: route[key] for key in ROUTE_OPTIONS if route.get(key) is not None}
        endpoint.route(given.pop("workflow", None), **given)
    return endpoint
