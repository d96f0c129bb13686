"""Webhook endpoints as code declares them: how a delivery is verified, and which payload it becomes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .step import checked_name
from .workflow import Workflow

if TYPE_CHECKING:
    from .application import Celeriac

PRESETS = ("github", "hmac")


@dataclass(frozen=True, slots=True)
class Event:
    """A verified delivery as its mapping sees it. `headers` have lower-case names; `body` is what was signed."""

    endpoint: str
    type: str | None
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError; the delivery is then parked, and not lost."""
        return json.loads(self.body)


Mapping_ = Callable[[Event], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What `durable.webhook(...)` declared. `secrets` are all live ones: while one is rotated there are two."""

    name: str
    preset: str
    secrets: tuple[str, ...]
    workflow: Workflow[..., Any]
    mapping: Mapping_
    header: str = "x-signature"


def declare_endpoint(
    durable: "Celeriac",
    name: str,
    *,
    verify: str,
    secret: str | Sequence[str],
    workflow: Workflow[..., Any] | None = None,
    header: str = "X-Signature",
) -> Callable[[Any], Any]:
    """Declares `POST /hooks/<name>`: on a workflow, whose payload is then the JSON body, or on a function that makes
    the payload of `workflow` from an Event, or None to ignore it.

    - verify: "github", or "hmac" for a hex HMAC-SHA256 of the raw body in `header` ("sha256=" before it is allowed).
    - secret: the shared secret, or several while one is rotated.

    Raises UsageError for a preset that does not exist, a missing secret, or a second endpoint of this name.

    >>> @durable.webhook("github", verify="github", secret=SECRET, workflow=sync_customer_data)
    ... def customer_of(event):
    ...     return {"customer_id": event.json()["repository"]["name"]}
    """
    if verify not in PRESETS:
        raise UsageError(f"webhook({name!r}, verify={verify!r}): choose one of {', '.join(PRESETS)}")
    secrets = tuple(each for each in ((secret,) if isinstance(secret, str) else secret) if each)
    if not secrets:
        raise UsageError(f"webhook({name!r}): needs its secret, else anyone could send deliveries")
    if name in durable.endpoints:
        raise UsageError(f"two webhook endpoints are named {name!r}")

    def decorate(target: Any) -> Any:
        if isinstance(target, Workflow):
            chosen, mapping = target, _body_of
        elif workflow is not None:
            chosen, mapping = workflow, target
        else:
            raise UsageError(f"webhook({name!r}) on a function: say workflow=..., which its result is the payload of")
        durable.endpoints[name] = Endpoint(
            checked_name(name, "a webhook endpoint"), verify, secrets, chosen, mapping, header.lower()
        )
        return target

    return decorate


def _body_of(event: Event) -> Mapping[str, Any]:
    body = event.json()
    if not isinstance(body, dict):
        raise ValueError(f"the body is a JSON {type(body).__name__}, a payload is an object")
    return body
