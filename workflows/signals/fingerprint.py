"""Which errors are the same: by workflow, type, the message without its values, and the place in the shop's code."""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

MESSAGE_LIMIT = 300  # characters of a message that count; and its first line only
OURS = str(Path(__file__).parent.parent.parent)
FRAME = re.compile(r'^  File "([^"]+)", line \d+, in (.+)$', re.MULTILINE)
CHAINED = "\n\nThe above exception was "  # what stands before it came first, and is the reason
FOREIGN = ("site-packages", "dist-packages", "/lib/python", "<frozen ")
# What differs between two runs of one error, the longest first.
VALUES = (
    (re.compile(r"\b(?:[a-z]{2,4}_)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"'[^']*'|\"[^\"]*\""), "<text>"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"\d+(?:[.:,]\d+)*"), "<n>"),
)


class Fingerprint(NamedTuple):
    """`hash` is equal for equal errors; the others are what a person reads."""

    hash: str
    type: str
    message: str
    frame: str


def fingerprint(workflow: str, document: str) -> Fingerprint:
    """The fingerprint of a recorded error. Line numbers do not count: a deploy moves them."""
    error = json.loads(document)
    type_, message = str(error.get("type") or "Error"), str(error.get("message") or "")
    frame = _frame(error.get("traceback") or "")
    parts = json.dumps([workflow, type_, _without_values(message), frame])
    return Fingerprint(hashlib.sha256(parts.encode()).hexdigest()[:32], type_, message, frame)


def _without_values(message: str) -> str:
    text = message.partition("\n")[0][:MESSAGE_LIMIT]
    for pattern, word in VALUES:
        text = pattern.sub(word, text)
    return text


def _frame(traceback: str) -> str:
    """The innermost place of the shop's own code that the error came through: 'shop/orders.py in charge'."""
    frames: list[tuple[str, str]] = FRAME.findall(traceback.partition(CHAINED)[0])
    own = [each for each in frames if not each[0].startswith(OURS) and not any(word in each[0] for word in FOREIGN)]
    if not (own or frames):
        return ""
    file, function = (own or frames)[-1]
    return f"{'/'.join(Path(file).parts[-2:])} in {function}"
