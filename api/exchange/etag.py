"""`ETag`, `If-None-Match`, `If-Match`: look again for nothing where nothing changed, and overwrite nobody's edit.

A tag has two parts, `"<revision>-<digest>"`. The digest is that of the whole document: a GET with If-None-Match is 304
while not one word of it is another. The revision says which edit of the row it shows (0009_requests.sql): a change with
If-Match goes through while that is still the last one, whatever has fired, queued or come in since, and is 412 else.
What nobody edits, as a run, has the digest alone.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, request
from werkzeug.http import parse_etags

from ...state.database import Revisions

REVISION_DIGITS = 18  # what a bigint holds for certain


def tagged(document: Mapping[str, Any], revision: int | None = None) -> Response:
    """The document with its ETag; or 304 where that is the one that a GET says it has."""
    response: Response = jsonify(document)
    digest = hashlib.sha256(response.get_data()).hexdigest()[:16]
    tag = digest if revision is None else f"{revision}-{digest}"
    response.set_etag(tag)
    if request.method in ("GET", "HEAD") and request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
    return response


def if_match() -> Revisions:
    """The revisions that the request may change: None for any. A tag that was never given out matches none."""
    text = request.headers.get("If-Match")
    tags = parse_etags(text)
    if text is None or tags.star_tag:
        return None
    # Weak ones, too: a proxy that compresses weakens a tag, and the revision it names is the same.
    return [int(given) for tag in tags.as_set(include_weak=True) if _is_number(given := (tag or "").partition("-")[0])]


def revision_of_form() -> Revisions:
    """The revision that a form of the page was made at; None where it does not say."""
    given = request.form.get("revision", "")
    return [int(given)] if _is_number(given) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= REVISION_DIGITS
