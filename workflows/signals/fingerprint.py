"""Which errors are the same: by workflow, type, the message without its values, and the place in the shop's code."""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

MESSAGE_LIMIT = 300  # characters of a message, without its values, that count; and its first line only
LINE_LIMIT = 2000  # characters of it in which values are looked for
OURS = str(Path(__file__).parent.parent.parent)
FRAME = re.compile(r'^  File "([^"]+)", line \d+, in (.+)$', re.MULTILINE)
CHAINED = "\n\nThe above exception was "  # what stands before it came first, and is the reason
FOREIGN = ("site-packages", "dist-packages", "/lib/python", "<frozen ")
# What differs between two runs of one error, the longest first.
VALUES = (
    # Quoted text, also where its end is on another line or too far away. An apostrophe within a word quotes nothing.
    (re.compile(r"(?<!\w)'(?:[^']|(?<=\w)'(?=\w))*(?:'|$)|\"[^\"]*(?:\"|$)|`[^`]*`"), "<text>"),
    (re.compile(r"\b[a-z][a-z0-9+]{1,15}://[^\s<>)\]]+", re.IGNORECASE), "<url>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), "<mail>"),
    (re.compile(r"(?<![\w/.~])(?:[a-z]:|\.{1,2}|~)?(?:[\\/][\w.@+~%=-]+){2,}[\\/]?", re.IGNORECASE), "<path>"),
    (re.compile(r"\b(?:[a-z]{2,4}_)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[a-z_]*[0-9])(?=[0-9_]*[a-z])(?:[a-z]{2,5}_)?[a-z0-9]{14,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"(?:(?<!\w)-)?\d+(?:[.:,]\d+)*(?:e[+-]?\d+)?"), "<n>"),
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
    return Fingerprint(_hash([workflow, type_, _without_values(message), frame]), type_, message, frame)


def fingerprint_of_others(workflow: str, type_: str, frame: str) -> str:
    """That of what is not told apart by its message any more: there are too many of them."""
    return _hash([workflow, type_, None, frame])


def _hash(parts: list[str | None]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _without_values(message: str) -> str:
    text = message.partition("\n")[0][:LINE_LIMIT]
    for pattern, word in VALUES:
        text = pattern.sub(word, text)
    return text[:MESSAGE_LIMIT]


def _frame(traceback: str) -> str:
    """The innermost place of the shop's own code that the error came through: 'shop/orders.py in charge'. A deploy does
    not make another one of it."""
    frames: list[tuple[str, str]] = FRAME.findall(traceback.partition(CHAINED)[0])
    own = [each for each in frames if not each[0].startswith(OURS) and not any(word in each[0] for word in FOREIGN)]
    if not (own or frames):
        return ""
    file, function = Path((own or frames)[-1][0]), (own or frames)[-1][1]
    folder = _without_values(file.parent.name)  # that of a release has its date or its hash
    return f"{folder}/{file.name} in {function}" if folder else f"{file.name} in {function}"
