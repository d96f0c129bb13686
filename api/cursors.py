"""Cursors of lists that are sorted by a moment and an id, newest first. They mean nothing to anyone else."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from .problems import Problem

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

LIMIT_DEFAULT, LIMIT_MAX = 50, 100  # members of one page


def cursor(at: datetime, id: UUID) -> str:
    """What continues after this member."""
    return urlsafe_b64encode(json.dumps([at.isoformat(), id.hex]).encode()).decode().rstrip("=")


def after(query: "MultiDict[str, str]") -> tuple[datetime, UUID] | None:
    """The member that a cursor continues after. Raises Problem 400 for one that was not given out."""
    text = query.get("cursor")
    if not text:
        return None
    try:
        at, id = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        parsed = datetime.fromisoformat(at)
        if parsed.tzinfo is None:
            raise ValueError("naive")
        return parsed, UUID(id)
    except (binascii.Error, ValueError, TypeError, AttributeError):
        raise Problem(400, "this cursor is not one that was given out: start again without it", "usage") from None


def limit_of(query: "MultiDict[str, str]") -> int:
    """How many members a page has. Raises Problem 400."""
    text = query.get("limit", str(LIMIT_DEFAULT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise Problem(400, f"limit={text[:20]}: give 1 to {LIMIT_MAX}", "usage")
    return int(text)
