"""What a view takes and answers, told beside it: `@told({202: StartedRun}, body=TriggerBody)`.

The OpenAPI document is made from it (openapi.py), and the tests hold every answer against it. The rest is in the view's
docstring: its first sentence is the summary, and `202: ...` in what follows is the description of that answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is no JSON: its content type."""

    type: str


@dataclass(frozen=True, slots=True)
class Told:
    """`answers` by their status, each a type, Media, or None for no content. `bodies` are what it takes, one of them.
    `refuses` are the statuses of errors that not every such view has. `is_tagged`: a GET that takes If-None-Match;
    `edits`: it takes If-Match."""

    answers: Mapping[int, Any]
    bodies: tuple[Any, ...] = ()
    query: Any = None
    refuses: tuple[int, ...] = ()
    is_tagged: bool = False
    edits: bool = False

    @property
    def takes_json(self) -> bool:
        return any(not isinstance(body, Media) for body in self.bodies)


def told(
    answers: Mapping[int, Any],
    *,
    body: Any = None,
    query: Any = None,
    refuses: tuple[int, ...] = (),
    is_tagged: bool = False,
    edits: bool = False,
) -> Callable[[View], View]:
    """Tells it of a view, which stays as it is. `body`: what it takes, several as a tuple."""
    bodies = body if isinstance(body, tuple) else () if body is None else (body,)

    def declare(view: View) -> View:
        vars(view)["told"] = Told(answers, bodies, query, refuses, is_tagged, edits)
        return view

    return declare
