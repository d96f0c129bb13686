"""The search grammar: one line of text that says which runs are meant, on the page, over HTTP and in the terminal.

    status:failed,crashed workflow:sync* tag:vip -tag:test created:>1h error:"no such customer"

Words are conditions, and all of them hold. `name:value` is one of NAMES; values with commas between are alternatives,
`*` stands for any text, a leading `-` turns a condition round, and quotes keep blanks and commas. A name that is
repeated adds alternatives, but for `tag` and `error`, of which a run can have several. A word without a name is a run's
id, the beginning of one (`019ab3*`), or how a workflow's name begins.

`created` compares moments: `>1h` is later than an hour ago, `<7d` earlier than seven days ago, `2030-11-01..2030-11-03`
those days (in UTC), `2030-11-01T12:00Z..` from then on.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, NamedTuple
from uuid import UUID

from ...state import ids, status
from ...state.runs import Filter, Term
from ..errors import UsageError

NAMES = {  # as they are written: what they are called in a filter
    "status": "status", "workflow": "workflow", "queue": "queue", "key": "concurrency_key", "source": "source",
    "version": "version", "tag": "tag", "error": "error", "id": "id", "parent": "parent_id", "created": "created",
}  # fmt: skip
WRITTEN = {called: written for written, called in NAMES.items()}
ALTERNATIVES = ("workflow", "queue", "concurrency_key", "source", "version")
SEVERAL = ("tag", "error")  # a run can have several of these
PLAIN = ("workflow", "queue", "concurrency_key", "source", "tag")  # fields of a Filter of their own
MOST = len(status.FINAL)  # more statuses than these are told by those that are left out
LENGTH_LIMIT = 8000  # characters of a search
WORDS_LIMIT = 40
TEXT = r'(?:"(?:[^"\\]|\\.)*"?|[^\s"])+'
WORD = re.compile(TEXT)
NAME = re.compile(r"(-?)([A-Za-z_]+):")
PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
AGO = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)")
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
HEX = re.compile(r"(?:run_)?([0-9a-f]{6,31})\*")


class SearchInvalid(UsageError):
    """A search that says nothing. `at` and `end` are where in the text the fault is."""

    def __init__(self, message: str, at: int, end: int):
        super().__init__(message)
        self.at, self.end = at, end


class Word(NamedTuple):
    """One condition as it is written; `name` is empty for a bare word."""

    name: str
    values: tuple[str, ...]
    is_negated: bool
    at: int
    end: int

    def wrong(self, why: str) -> SearchInvalid:
        return SearchInvalid(f"{why} (at character {self.at + 1})", self.at, self.end)


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    filter: Filter
    terms: list[Term]
    now: datetime


def parse(text: str, now: datetime) -> Filter:
    """The filter that a search is. Moments like `>1h` are reckoned from `now`. Raises SearchInvalid."""
    if len(text) > LENGTH_LIMIT:
        raise SearchInvalid(f"a search of more than {LENGTH_LIMIT} characters", LENGTH_LIMIT, len(text))
    reading = _Reading(Filter(), [], now)
    for count, word in enumerate(_words(text)):
        if count >= WORDS_LIMIT:
            raise word.wrong(f"a search of more than {WORDS_LIMIT} words")
        _read(word, reading)
    return _plain(reading)


def narrowed(named: Filter, text: str, now: datetime) -> Filter:
    """A filter by names, and a search besides. Raises SearchInvalid, also for what both of them say."""
    found = parse(text, now)
    members = {each.name: getattr(named, each.name) for each in fields(Filter) if getattr(named, each.name)}
    for name in members:
        if getattr(found, name):
            raise SearchInvalid(f"{name} is in the search, and beside it: give it once", 0, len(text))
    return replace(found, **members)


def rewritten(text: str, name: str, value: str = "") -> str:
    """A search without the conditions of this name, and with this one instead. Raises SearchInvalid."""
    kept = text
    for word in reversed(list(_words(text))):
        if word.name == name:
            kept = f"{kept[: word.at].rstrip()} {kept[word.end :].lstrip()}"
    return f"{kept.strip()} {f'{name}:{value}' if value else ''}".strip()


def run_id(text: str) -> UUID | None:
    """The id of a run, where the whole search is nothing else."""
    try:
        return ids.parse("run", text.strip())
    except ValueError:
        return None


def told(filter: Filter) -> str:
    """A filter as the search that it is, with whole moments: `parse` makes the same filter of it, at any time."""
    words = []
    if len(filter.status) > MOST:
        words.append(f"-status:{','.join(each for each in status.STATUSES if each not in filter.status)}")
    elif filter.status:
        words.append(f"status:{','.join(filter.status)}")
    words += [f"{WRITTEN[name]}:{_quoted(value)}" for name in PLAIN if (value := getattr(filter, name)) is not None]
    for term in filter.terms:
        sign = "-" if term.is_negated else ""
        words.append(f"{sign}{WRITTEN[term.name]}:{','.join(_quoted(value) for value in term.values)}")
    if filter.parent_id:
        words.append(f"parent:{ids.public('run', filter.parent_id)}")
    if filter.ids:
        words.append(f"id:{','.join(ids.public('run', id) for id in filter.ids)}")
    if filter.id_between:
        first, last = filter.id_between
        words.append(f"id:{_beginning(first, last)}*")
    if filter.created_from or filter.created_to:
        words.append(f"created:{_moment_text(filter.created_from)}..{_moment_text(filter.created_to)}")
    return " ".join(words)


def _words(text: str) -> Iterator[Word]:
    for found in WORD.finditer(text):
        at, end, raw = found.start(), found.end(), found[0]
        named = NAME.match(raw)
        sign, name = named.groups() if named else ("-" if raw.startswith("-") else "", "")
        rest = raw[named.end() if named else len(sign) :]
        word = Word(name.lower(), (), bool(sign), at, end)
        if '"' in QUOTED.sub("", rest):
            raise word.wrong("a quote that is not closed")
        values = tuple(_unquoted(part) for part in PART.findall(rest)) if name else (_unquoted(rest),)
        if not any(values):
            raise word.wrong(f"{raw} has no value")
        if "\0" in rest:
            raise word.wrong("a NUL character, which is in no name")
        yield word._replace(values=tuple(value for value in values if value))


def _read(word: Word, reading: _Reading) -> None:
    name = NAMES.get(word.name or "id")
    if name is None:
        near = get_close_matches(word.name, NAMES, n=1)
        hint = f", did you mean {near[0]!r}?" if near else f", known are {', '.join(NAMES)}"
        raise word.wrong(f"{word.name!r} is nothing to search by{hint}")
    if not word.name:
        _read_bare(word, reading)
    elif name == "status":
        _read_status(word, reading)
    elif name == "created":
        _read_created(word, reading)
    elif name == "id":
        _read_id(word, word.values, reading)
    elif name == "parent_id":
        _read_parent(word, reading)
    else:
        reading.terms.append(Term(name, word.values, word.is_negated))


def _read_bare(word: Word, reading: _Reading) -> None:
    (text,) = word.values
    if run_id(text) or HEX.fullmatch(text):
        _read_id(word, word.values, reading)
    else:
        reading.terms.append(Term("workflow", (text if text.endswith("*") else f"{text}*",), word.is_negated))


def _read_status(word: Word, reading: _Reading) -> None:
    for value in word.values:
        if value not in status.STATUSES:
            near = get_close_matches(value, status.STATUSES, n=1)
            raise word.wrong(f"{value!r} is no status" + (f", did you mean {near[0]!r}?" if near else ""))
    before = reading.filter.status
    if word.is_negated:
        wanted = [each for each in before or status.STATUSES if each not in word.values]
        if not wanted:
            raise word.wrong("no status is left")
    else:
        wanted = [each for each in status.STATUSES if each in before or each in word.values]
    reading.filter = replace(reading.filter, status=tuple(wanted))


def _read_id(word: Word, values: tuple[str, ...], reading: _Reading) -> None:
    if word.is_negated:
        raise word.wrong("ids can be searched, not left out")
    if len(values) == 1 and (beginning := HEX.fullmatch(values[0])):
        digits = beginning[1]
        between = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        reading.filter = replace(reading.filter, id_between=between)
        return
    found = [run_id(value) for value in values]
    for value, id in zip(values, found, strict=True):
        if id is None:
            raise word.wrong(f"{value!r} is no run id: one is run_ and 32 hex digits, or its beginning and *")
    reading.filter = replace(reading.filter, ids=(*reading.filter.ids, *(id for id in found if id)))


def _read_parent(word: Word, reading: _Reading) -> None:
    id = run_id(word.values[0])
    if id is None or word.is_negated or len(word.values) > 1:
        raise word.wrong("parent: takes the id of one run, run_ and 32 hex digits")
    reading.filter = replace(reading.filter, parent_id=id)


def _read_created(word: Word, reading: _Reading) -> None:
    if word.is_negated or len(word.values) > 1:
        raise word.wrong("created: takes one moment or span: >1h, <7d, 2030-11-01..2030-11-03")
    (text,) = word.values
    first, dots, last = text.partition("..")
    if dots:
        begins = _moment(word, first, reading.now)[0] if first else None
        ends = _moment(word, last, reading.now)[1] if last else None
    elif text[0] in "<>":
        moment = _moment(word, text[1:].removeprefix("="), reading.now)
        begins, ends = (moment[0], None) if text[0] == ">" else (None, moment[0])
    else:
        begins, ends = _moment(word, text, reading.now)
        ends = None if AGO.fullmatch(text) else ends
    before = reading.filter
    reading.filter = replace(
        before, created_from=_later(before.created_from, begins), created_to=_earlier(before.created_to, ends)
    )


def _moment(word: Word, text: str, now: datetime) -> tuple[datetime, datetime]:
    """When it begins and when it ends: a day has 24 hours, a moment none."""
    try:
        if ago := AGO.fullmatch(text):
            at = now - timedelta(seconds=int(ago[1]) * SECONDS[ago[2]])
            return at, at
        if DAY.fullmatch(text):
            begins = datetime.combine(datetime.fromisoformat(text), time(), UTC)
            return begins, begins + timedelta(days=1)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise word.wrong(f"{text!r} is no moment: write 1h, 7d, 2030-01-31, or 2030-01-31T12:00Z") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at, at


def _plain(reading: _Reading) -> Filter:
    """The filter, in which a name that is repeated is one term, and what needs no term has none."""
    merged: list[Term] = []
    for term in reading.terms:
        of_kind = [each for each in merged if (each.name, each.is_negated) == (term.name, term.is_negated)]
        if of_kind and (term.name in ALTERNATIVES or term.is_negated):
            place = merged.index(of_kind[0])
            values = tuple(dict.fromkeys((*of_kind[0].values, *term.values)))
            merged[place] = replace(term, values=values)
        elif term not in merged:
            merged.append(term)
    plain: dict[str, Any] = {}
    for term in merged:
        is_plain = term.name in PLAIN and not term.is_negated and len(term.values) == 1
        if is_plain and "*" not in term.values[0] and term.name not in plain:
            plain[term.name] = term.values[0]
    rest = [
        term
        for term in merged
        if not (plain.get(term.name) == term.values[0] and len(term.values) == 1 and not term.is_negated)
    ]
    return replace(reading.filter, terms=tuple(rest), **plain)


def _quoted(value: str) -> str:
    if value and not re.search(r'[\s",\\]', value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(part: str) -> str:
    return re.sub(r'\\(.)|"', lambda found: found[1] or "", part) if '"' in part else part


def _beginning(first: UUID, last: UUID) -> str:
    """The digits that two ids begin with alike."""
    length = next((at for at, (a, b) in enumerate(zip(first.hex, last.hex, strict=True)) if a != b), 32)
    return first.hex[:length]


def _moment_text(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else ""


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one and other else one or other


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(one, other) if one and other else one or other
