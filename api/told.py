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
    """`answers` by their status, each a type, Media, or None for no content; `body` and `query` are types. `refuses`
    are the statuses of errors that not every such view has, `takes_key` says that it takes an Idempotency-Key."""

    answers: Mapping[int, Any]
    body: Any = None
    query: Any = None
    refuses: tuple[int, ...] = ()
    takes_key: bool = False


def told(
    answers: Mapping[int, Any],
    *,
    body: Any = None,
    query: Any = None,
    refuses: tuple[int, ...] = (),
    takes_key: bool = False,
) -> Callable[[View], View]:
    """Tells it of a view, which stays as it is."""

    def declare(view: View) -> View:
        vars(view)["told"] = Told(answers, body, query, refuses, takes_key)
        return view

    return declare
