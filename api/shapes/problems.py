"""An error, as the API answers it."""

from typing import NotRequired

from typing_extensions import TypedDict


class Fault(TypedDict):
    """One place of a body that is wrong."""

    pointer: str
    """JSON pointer (RFC 6901) into the body; empty for the body as a whole"""
    detail: str


class ProblemDocument(TypedDict):
    """An error (RFC 9457). Some have more members, as `run_status` of a run whose status does not allow a move."""

    type: str
    """`urn:celeriac:problem:` and a word to tell it by; `about:blank` where the status says it all"""
    title: str
    status: int
    detail: str
    """What happened, and what to do"""
    request_id: str | None
    """Under which the log of the server has it"""
    errors: NotRequired[list[Fault]]
