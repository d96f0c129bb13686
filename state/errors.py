"""The errors that come from the truth itself. The whole tree is drawn in `celeriac.workflows.errors`."""


class CeleriacError(Exception):
    """Anything that Celeriac raises on purpose. Catch it to catch them all."""


class Superseded(CeleriacError):
    """Someone else moved this run first. Stop working on it and write nothing: its row is already right."""


class StateUnavailable(CeleriacError):
    """Postgres does not answer. Nothing was acknowledged; try again when it is back (`celeriac doctor` tells more)."""


class NotSerializable(CeleriacError):
    """A value cannot be kept as JSON.

    Attributes: `where` (which step, payload or output), `path` (JSONPath-like, `$` is the value itself).
    """

    def __init__(self, where: str, path: str, fault: str):
        super().__init__(
            f"{where} cannot be kept: {fault} at {path}. "
            "Return JSON values, dataclasses, pydantic models, datetime, UUID, Decimal, Enum or bytes."
        )
        self.where, self.path, self.fault = where, path, fault

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.where, self.path, self.fault)


class TooLarge(NotSerializable):
    """A value is larger than its limit, in bytes of JSON."""

    def __init__(self, where: str, size_bytes: int, limit_bytes: int):
        CeleriacError.__init__(
            self,
            f"{where} is {size_bytes:,} bytes of JSON, the limit is {limit_bytes:,}. "
            "Keep large data where it lives (a bucket, a table) and pass a reference.",
        )
        self.where, self.size_bytes, self.limit_bytes = where, size_bytes, limit_bytes
        self.path, self.fault = "$", "too large"

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:  # type: ignore[override]
        return type(self), (self.where, self.size_bytes, self.limit_bytes)


class PayloadInvalid(CeleriacError):
    """The payload does not fit the workflow's signature.

    Attributes: `workflow`, and `faults`: a list of `{"pointer": "/customer_id", "detail": "..."}` (RFC 6901 pointers).
    """

    def __init__(self, workflow: str, faults: list[dict[str, str]]):
        told = "; ".join(f"{fault['pointer'] or '/'}: {fault['detail']}" for fault in faults)
        super().__init__(f"the payload does not fit workflow {workflow!r}: {told}")
        self.workflow, self.faults = workflow, faults

    def __reduce__(self) -> tuple[type, tuple[str, list[dict[str, str]]]]:
        return type(self), (self.workflow, self.faults)


class IdempotencyConflict(CeleriacError):
    """This idempotency key was used before with another payload. Send the same payload, or choose a new key."""


class RevisionConflict(CeleriacError):
    """Somebody changed it since it was looked at. Nothing was changed by this: look at it again.

    Attribute: `revision`, at which it is now.
    """

    def __init__(self, message: str, revision: int):
        super().__init__(message)
        self.revision = revision

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.revision)


class Refused(CeleriacError):
    """The queue takes no run now. Nothing was stored. Attribute: `queue`."""

    def __init__(self, message: str, queue: str):
        super().__init__(message)
        self.queue = queue

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.queue)


class QueueFull(Refused):
    """As many runs wait in the queue as its `max_queued` allows. Try again later."""


class QueueDraining(Refused):
    """An operator has the queue worked off; it takes no new runs until it is resumed."""


class KeyFull(Refused):
    """The concurrency key has as many live runs as it may, and its queue says `when_full="reject"`."""
