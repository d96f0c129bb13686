"""Webhook endpoints as code declares them: how a delivery is verified, and where it is routed to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..step import checked_name
from ..workflow import Workflow
from . import filter, mapping
from .event import Event
from .presets import PRESETS, SHARED, Preset

if TYPE_CHECKING:
    from ..application import Celeriac

RESPOND_LIMIT_SECONDS = 25.0  # that a sender waits for a result at most
BODY_LIMIT_BYTES = 26_214_400  # GitHub's, the largest that is sent
ORDER_TIMEOUT_SECONDS = 3600.0

Mapping_ = Callable[[Event], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where deliveries go: they start a workflow, or are sent as an event. `where` says which of them."""

    name: str
    workflow: Workflow[..., Any] | str | None = None
    event: str | None = None
    where: str | None = None
    transform: str | None = None  # JMESPath that makes the payload
    mapping: Mapping_ | None = None  # or a function does; neither: the body is the payload

    @property
    def workflow_name(self) -> str | None:
        return self.workflow.name if isinstance(self.workflow, Workflow) else self.workflow

    def document(self) -> dict[str, Any]:
        """As it is registered, and shown."""
        made_by = getattr(self.mapping, "__qualname__", None) if self.mapping else None
        return {
            "name": self.name,
            "workflow": self.workflow_name,
            "event": self.event,
            "where": self.where,
            "transform": self.transform,
            "mapping": made_by,
        }


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """What `durable.webhook(...)` declared, or a person made. `secrets` are those of the code, all of them live."""

    name: str
    preset: Preset
    secrets: tuple[str, ...] = ()
    header: str = "x-signature"
    routes: list[Route] = field(default_factory=list)
    events: bool | None = None  # whether each delivery is the event `webhook:<name>`; None: where it has no routes
    respond_seconds: float = 0.0  # the sender waits so long for the result of the run
    order_by: str | None = None
    order_timeout_seconds: float = ORDER_TIMEOUT_SECONDS
    split: str | None = None
    split_key: str | None = None
    spool: bool = False
    limit_bytes: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    is_stored: bool = False

    @property
    def event_name(self) -> str:
        return event_name(self.name)

    @property
    def sends_events(self) -> bool:
        """Whether runs can wait for its deliveries."""
        return not self.routes if self.events is None else self.events

    @property
    def secret_header(self) -> str | None:
        """The header that holds the secret itself, and is not kept."""
        return (self.preset.header or self.header) if self.preset.algorithm == SHARED else None

    def route(
        self,
        workflow: Workflow[..., Any] | str | None = None,
        *,
        where: str | None = None,
        transform: str | None = None,
        event: str | None = None,
        mapping: Mapping_ | None = None,
        name: str | None = None,
    ) -> Route:
        """Adds a route: see `declare_endpoint`. Raises UsageError."""
        if (workflow is None) == (event is None):
            raise UsageError(f"a route of webhook({self.name!r}) starts a workflow=, or sends an event=: say which")
        if where is not None:
            filter.parse(where)
        if transform is not None:
            if mapping is not None:
                raise UsageError(
                    f"webhook({self.name!r}): the payload is made by transform=, or by a function; not both"
                )
            _check_expression(transform)
        if event is not None:
            checked_name(event, "an event")
        aimed = event or (workflow.name if isinstance(workflow, Workflow) else str(workflow))
        known = {route.name for route in self.routes}
        name = name or next(n for n in (aimed, *(f"{aimed}#{i}" for i in range(2, 1000))) if n not in known)
        if name in known:
            raise UsageError(f"webhook({self.name!r}) has two routes named {name!r}")
        added = Route(name=name, workflow=workflow, event=event, where=where, transform=transform, mapping=mapping)
        self.routes.append(added)
        return added

    def config(self) -> dict[str, Any]:
        """What is registered of it, which is all but its secrets and its code."""
        return {
            "header": self.header,
            "routes": [route.document() for route in self.routes],
            "events": self.events,
            "sends_events": self.sends_events,
            "respond_seconds": self.respond_seconds,
            "order_by": self.order_by,
            "order_timeout_seconds": self.order_timeout_seconds,
            "split": self.split,
            "split_key": self.split_key,
            "spool": self.spool,
            "limit_bytes": self.limit_bytes,
            "options": {name: value for name, value in self.options.items() if name != "verify_token"},
        }


def event_name(endpoint: str) -> str:
    """The event that a delivery of an endpoint is, for runs that wait for one."""
    return f"webhook:{endpoint}"


def declare_endpoint(
    durable: "Celeriac",
    name: str,
    *,
    verify: str | Preset,
    secret: str | Sequence[str] = (),
    workflow: Workflow[..., Any] | str | Sequence[Workflow[..., Any] | str] | None = None,
    where: str | None = None,
    transform: str | None = None,
    event: str | None = None,
    **options: Any,
) -> "Declared":
    """Declares `POST /hooks/<name>`. It decorates a workflow, whose payload is then the JSON body, or a function that
    makes the payload of `workflow` from an Event, or None to ignore it. Several decorations are several routes.

    - verify: the name of a preset (`standard`, `github`, `stripe`, `slack`, ...), or a Preset of your own.
    - secret: the shared secret or public key, or several while one is rotated. More can be added at run time.
    - workflow: what a delivery starts; several: each of them. event: the name of an event that it is sent as.
    - where: which deliveries, as a filter: `'type == "customer.updated"'`; see `filter`.
    - transform: the payload, as JMESPath: `"{customer_id: body.data.object.id}"`.
    - header: of the signature, for the preset `hmac` (default X-Signature).
    - events: each delivery is the event that `wait_for_webhook(name)` waits for. Default: where it starts nothing.
    - respond: seconds that the sender waits for the result of the run, at most 25.
    - order_by: JMESPath of a key; deliveries of one key start one after the other, when the run before has ended, or
      after order_timeout seconds (3600).
    - split, split_key: JMESPath of the items of a body that holds many events, and of an item's own id.
    - spool: while Postgres is away deliveries are kept in a file (setting `spool_dir`).
    - limit_bytes: of a body; default the setting `delivery_limit_bytes`, at most 25 MiB.
    - options: what a preset needs besides: `{"webhook_id": ...}` for paypal, `{"verify_token": ...}` for meta.

    Raises UsageError for what cannot be.

    >>> @durable.webhook("github", verify="github", secret=SECRET, workflow=sync_customer_data)
    ... def customer_of(event):
    ...     return {"customer_id": event.json()["repository"]["name"]}
    """
    if name in durable.endpoints:
        raise UsageError(f"two webhook endpoints are named {name!r}")
    given = (secret,) if isinstance(secret, str) else tuple(secret)
    if not all(given):
        raise UsageError(f"webhook({name!r}): its secret is empty. Leave secret= out where it is added at run time")
    targets = [workflow] if isinstance(workflow, Workflow | str) else list(workflow or ())
    declared = Declared(durable, make_endpoint(name, verify=verify, secrets=given, **options), targets, where)
    if event is not None:
        declared.route(event=event, where=where, transform=transform if not targets else None)
    for target in targets:
        declared.implied.append(declared.endpoint.route(target, where=where, transform=transform))
    durable.endpoints[name] = declared.endpoint
    return declared


def make_endpoint(
    name: str,
    *,
    verify: str | Preset,
    secrets: Sequence[str] = (),
    header: str = "X-Signature",
    events: bool | None = None,
    respond: float = 0.0,
    order_by: str | None = None,
    order_timeout: float = ORDER_TIMEOUT_SECONDS,
    split: str | None = None,
    split_key: str | None = None,
    spool: bool = False,
    limit_bytes: int | None = None,
    options: Mapping[str, str] | None = None,
    is_stored: bool = False,
) -> Endpoint:
    """An endpoint without its routes, checked. Raises UsageError."""
    preset = verify if isinstance(verify, Preset) else _preset(name, verify)
    if not 0 <= respond <= RESPOND_LIMIT_SECONDS:
        raise UsageError(f"webhook({name!r}, respond={respond}): a sender waits {RESPOND_LIMIT_SECONDS:g} s at most")
    if limit_bytes is not None and not 0 < limit_bytes <= BODY_LIMIT_BYTES:
        raise UsageError(f"webhook({name!r}, limit_bytes={limit_bytes}): at most {BODY_LIMIT_BYTES:,}")
    for expression in (order_by, split, split_key):
        _check_expression(expression)
    if preset.name == "paypal" and not (options or {}).get("webhook_id"):
        raise UsageError(f"webhook({name!r}): PayPal signs the id of the webhook: options={{'webhook_id': ...}}")
    return Endpoint(
        name=checked_name(name, "a webhook endpoint"),
        preset=preset,
        secrets=tuple(secrets),
        header=header.lower(),
        events=events,
        respond_seconds=respond,
        order_by=order_by,
        order_timeout_seconds=order_timeout,
        split=split or preset.split or None,
        split_key=split_key or preset.split_key or None,
        spool=spool,
        limit_bytes=limit_bytes,
        options=dict(options or {}),
        is_stored=is_stored,
    )


@dataclass(frozen=True, slots=True)
class Declared:
    """What `durable.webhook(...)` returns: a decorator that adds routes, and the endpoint itself."""

    durable: "Celeriac"
    endpoint: Endpoint
    targets: Sequence[Workflow[..., Any] | str]
    where: str | None
    # The routes to the targets, whose payload is the body, until a function is decorated that makes it.
    implied: list[Route] = field(default_factory=list)

    def __call__(self, target: Any) -> Any:
        """Adds the route of a workflow, or of a function that makes the payload of `workflow`."""
        if isinstance(target, Workflow):
            self.endpoint.route(target, where=self.where)
            return target
        if not self.targets:
            name = self.endpoint.name
            raise UsageError(f"webhook({name!r}) on a function: say workflow=..., which its result is the payload of")
        for route in self.implied:
            if route.transform is not None:
                raise UsageError(
                    f"webhook({self.endpoint.name!r}): the payload is made by transform=, or by a function; not both"
                )
            self.endpoint.routes.remove(route)
        self.implied.clear()
        for workflow in self.targets:
            self.endpoint.route(workflow, where=self.where, mapping=target)
        return target

    def route(self, workflow: Workflow[..., Any] | str | None = None, **options: Any) -> "Declared":
        """Adds a route: `stripe.route(refund, where='type == "charge.disputed"', transform="{id: body.id}")`. Options:
        where, transform, event, mapping, name, as for `Endpoint.route`."""
        self.endpoint.route(workflow, **options)
        return self


def _preset(name: str, verify: str) -> Preset:
    found = PRESETS.get(verify)
    if found is None:
        near = get_close_matches(verify, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(PRESETS)}"
        raise UsageError(f"webhook({name!r}, verify={verify!r}): {hint}")
    return found


def _check_expression(expression: str | None) -> None:
    if expression is not None:
        mapping.checked(expression)
