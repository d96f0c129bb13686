"""Reads the .sql files of this package: each statement stands under `-- name: verb`, its prose between name and SQL.

What several statements share stands under `-- fragment: name`, and in them as `{{name}}`.
"""

import re
from importlib.resources import files

SECTION = re.compile(r"^-- (name|fragment): (\w+)\s*$", re.MULTILINE)
FRAGMENT = re.compile(r"{{(\w+)}}")
PROSE = re.compile(r"^--.*\n", re.MULTILINE)


class Queries:
    """The statements of one file, each an attribute: `Queries("runs.sql").claim`."""

    def __init__(self, filename: str):
        self.filename = filename
        _, *parts = SECTION.split(files(__package__).joinpath(filename).read_text())
        sections = list(zip(parts[::3], parts[1::3], map(str.strip, parts[2::3]), strict=True))
        fragments = {name: PROSE.sub("", text) for kind, name, text in sections if kind == "fragment"}
        self.statements: dict[str, str] = {
            name: FRAGMENT.sub(lambda found: fragments[found[1]], text)
            for kind, name, text in sections
            if kind == "name"
        }

    def __getattr__(self, name: str) -> str:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"{self.filename} has no statement named {name!r}") from None
