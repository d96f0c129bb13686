"""Reads the .sql files of this package: each statement stands under `-- name: verb`, its prose between name and SQL.

What several statements share stands under `-- fragment: name`, in their file or, where several files share it, in
fragments.sql; in them it stands as `{{name}}`.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Self

SECTION = re.compile(r"^-- (name|fragment): (\w+)\s*$", re.MULTILINE)
FRAGMENT = re.compile(r"{{(\w+)}}")
PROSE = re.compile(r"^--.*\n", re.MULTILINE)
PARAMETER = re.compile(r"%\((\w+)\)s")


class Statement(str):
    """A named statement, which a connection prepares once: parsing and planning it again would cost as much as it does.

    `handle` is how the connection calls it, `parameters` are its names in the order of $1, $2, ... in `numbered`.
    """

    handle: str
    parameters: tuple[str, ...]
    numbered: str

    @classmethod
    def of(cls, text: str, handle: str) -> Self:
        statement = cls(text)
        statement.handle = handle
        statement.parameters = tuple(dict.fromkeys(PARAMETER.findall(text)))
        place = {name: f"${index}" for index, name in enumerate(statement.parameters, start=1)}
        statement.numbered = PARAMETER.sub(lambda found: place[found[1]], text).replace("%%", "%")
        return statement


class Queries:
    """The statements of one file, each an attribute: `Queries("runs.sql").claim`."""

    def __init__(self, filename: str):
        self.filename = filename
        shared, own = _sections("fragments.sql"), _sections(filename)
        fragments = {name: PROSE.sub("", text) for name, text in (shared["fragment"] | own["fragment"]).items()}
        noun = filename.removesuffix(".sql")
        self.statements: dict[str, Statement] = {
            name: Statement.of(_filled(text, fragments), f"{noun}_{name}") for name, text in own["name"].items()
        }

    def __getattr__(self, name: str) -> Statement:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"{self.filename} has no statement named {name!r}") from None


def _filled(text: str, fragments: Mapping[str, str]) -> str:
    while FRAGMENT.search(text):  # there are fragments in fragments
        text = FRAGMENT.sub(lambda found: fragments[found[1]], text)
    return text


def _sections(filename: str) -> dict[str, dict[str, str]]:
    """The statements ("name") and fragments ("fragment") of a file: name -> text."""
    _, *parts = SECTION.split(files(__package__).joinpath(filename).read_text())
    found: dict[str, dict[str, str]] = {"name": {}, "fragment": {}}
    for kind, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        found[kind][name] = text.strip()
    return found
