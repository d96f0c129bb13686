"""Documents as the page shows them: indented, without secrets, and no longer than can be looked at.

The page hides what the setting `redact` names, as logs do, and so a payload can come back from a form with HIDDEN in
it: `restored` puts back what had stood there. Numbers are written as they were kept, however large.
"""

import json
from dataclasses import dataclass
from typing import Any

from flask import g

from ...workflows.signals.redaction import HIDDEN, Redaction
from .. import wording
from ..current import durable

LIMIT = 65_536  # characters of one document that the page shows; the rest can be downloaded
BRIEF_LIMIT = 120


@dataclass(frozen=True, slots=True)
class Shown:
    """`text` is indented JSON, up to the end of a line before LIMIT; `brief` the same on one line, `size` of it all."""

    text: str
    brief: str
    size: str
    is_cut: bool


def shown(text: str | None) -> Shown | None:
    """A kept JSON text. None where there is none."""
    if text is None:
        return None
    document = hidden(text)
    told = indented(document)
    is_cut = len(told) > LIMIT
    brief = json.dumps(document, ensure_ascii=False)[: BRIEF_LIMIT + 1] if not is_cut else " ".join(told[:200].split())
    brief = brief if len(brief) <= BRIEF_LIMIT else brief[: BRIEF_LIMIT - 1] + "…"
    return Shown(told[: told.rfind("\n", 0, LIMIT)] if is_cut else told, brief, wording.size(text), is_cut)


def whole(text: str) -> str:
    """All of it, without secrets."""
    return indented(hidden(text))


def hidden(text: str) -> Any:
    """What a kept JSON text says, without secrets."""
    return redaction().within(json.loads(text))


def indented(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def restored(edited: Any, original: Any) -> Any:
    """What came back from a form, with what the page had hidden of the original."""
    if isinstance(edited, dict):
        known = original if isinstance(original, dict) else {}
        return {name: restored(member, known.get(name)) for name, member in edited.items()}
    if isinstance(edited, list):
        there = original if isinstance(original, list) else []
        return [restored(member, there[at] if at < len(there) else None) for at, member in enumerate(edited)]
    if not isinstance(edited, str) or HIDDEN not in edited or original is None:
        return edited
    if edited == HIDDEN or (isinstance(original, str) and edited == redaction().text(original)):
        return original
    return edited


def redaction() -> Redaction:
    """What this server hides."""
    if "redaction" not in g:
        g.redaction = Redaction.of(durable())
    found: Redaction = g.redaction
    return found
