"""Reads the .sql files of this package: each statement stands under `-- name: verb`, its prose between name and SQL.

What several statements share stands in fragments.sql under `-- fragment: name`, and in them as `{{name}}`.
"""

import re
from importlib.resources import files
from typing import Self

SECTION = re.compile(r"^-- (?:name|fragment): (\w+)\s*$", re.MULTILINE)
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
        fragments = {name: PROSE.sub("", text) for name, text in _sections("fragments.sql").items()}
        noun = filename.removesuffix(".sql")
        self.statements: dict[str, Statement] = {
            name: Statement.of(FRAGMENT.sub(lambda found: fragments[found[1]], text), f"{noun}_{name}")
            for name, text in _sections(filename).items()
        }

    def __getattr__(self, name: str) -> Statement:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"{self.filename} has no statement named {name!r}") from None


def _sections(filename: str) -> dict[str, str]:
    """Name -> text, of the statements or fragments of a file."""
    _, *parts = SECTION.split(files(__package__).joinpath(filename).read_text())
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
