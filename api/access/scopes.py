"""Scopes: what a key may do. Each view names the one that it needs, and the guard lets in who holds it.

A scope covers what begins with it: `workflows:trigger` covers `workflows:trigger:sync-customer-data`. A view without a
scope refuses everybody, so what is forgotten is closed, not open.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ...workflows.errors import UsageError
from ...workflows.step import checked_name
from ..exchange.body import nearest

View = TypeVar("View", bound=Callable[..., Any])

ADMIN = "admin"
TRIGGER = "workflows:trigger"
SCOPES = {
    "runs:read": "see runs: payloads, results, steps, history, logs, errors, bulk orders",
    "runs:write": "cancel, pause, retry, replay, fork and reschedule runs, one or many",
    "workflows:read": "see workflows, with their schemas and options",
    TRIGGER: "start runs of every workflow; workflows:trigger:<name>: of that one",
    "events:write": "send events and messages, complete tokens",
    "schedules:read": "see schedules and their ticks",
    "schedules:write": "make, change, pause, fire and delete schedules",
    "queues:read": "see queues and their limits",
    "queues:write": "pause, resume, drain and limit queues",
    "webhooks:read": "see endpoints, deliveries and refused requests",
    "webhooks:write": "make and change endpoints and their secrets, replay and discard deliveries",
    "alerts:read": "see alerts, and what they said",
    "alerts:write": "make, change, pause, try and remove alerts",
    "workers:read": "see workers, the lists of the broker, and the services of beat",
    "workers:write": "shut down, drain, grow and steer workers, purge lists of the broker",
    "metrics:read": "read /metrics",
    "keys:admin": "make, rotate and revoke keys, with no more scopes than its own",
    "audit:read": "see who changed what",
    ADMIN: "everything",
}

VIEWER, OPERATOR = "viewer", "operator"
ROLES = {  # of people who log in: each may what the one before may, and more
    VIEWER: frozenset(scope for scope in SCOPES if scope.endswith(":read")) - {"audit:read"},
    OPERATOR: frozenset(SCOPES) - {"keys:admin", ADMIN},
    ADMIN: frozenset({ADMIN}),
}

PUBLIC = "public"  # for a view: no key is asked for
ANY_KEY = "any key"  # for a view: whoever has one


def needs(
    scope: str, *, of: str | None = None, run_token: bool = False, token_in_query: bool = False
) -> Callable[[View], View]:
    """Says what a view needs, in attributes of it that the guard reads: `scope`, `scope_of`, `takes_run_token` and
    `takes_token_in_query`.

    `scope` is a name of SCOPES, PUBLIC or ANY_KEY. `of` is the argument of the view by which the scope may be narrowed:
    with `of="name"` the key may hold `<scope>:<name>` instead. `run_token`: a token of the run that the argument `id`
    names will do, for reading; `token_in_query`: also as `?token=`, for an EventSource, which sends no headers.
    """
    assert scope in (*SCOPES, PUBLIC, ANY_KEY), scope

    def declare(view: View) -> View:
        view.scope, view.scope_of = scope, of  # type: ignore[attr-defined]
        view.takes_run_token, view.takes_token_in_query = run_token, token_in_query  # type: ignore[attr-defined]
        return view

    return declare


def covers(held: Collection[str], scope: str) -> bool:
    """Whether one of the scopes that somebody holds is this one, or wider."""
    return any(each in (ADMIN, scope) or scope.startswith(f"{each}:") for each in held)


def is_reading(scope: str) -> bool:
    """Whether nothing is changed with it."""
    return scope.endswith(":read") or scope in (PUBLIC, ANY_KEY)


def checked(scope: Any) -> str:
    """The scope, if there is such a one. Raises UsageError."""
    if not isinstance(scope, str):
        raise UsageError("the name of a scope is expected")
    if scope in SCOPES:
        return scope
    if scope.startswith(f"{TRIGGER}:"):
        checked_name(scope.removeprefix(f"{TRIGGER}:"), "a workflow")
        return scope
    raise UsageError(f"{scope!r} is no scope{nearest(scope, list(SCOPES))}")
