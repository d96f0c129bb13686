"""Reads the .sql files of this package: each statement stands under `-- name: verb`, its prose between name and SQL."""

import re
from importlib.resources import files

NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Queries:
    """The statements of one file, each an attribute: `Queries("runs.sql").claim`."""

    def __init__(self, filename: str):
        self.filename = filename
        _, *parts = NAME.split(files(__package__).joinpath(filename).read_text())
        self.statements: dict[str, str] = dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))

    def __getattr__(self, name: str) -> str:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"{self.filename} has no statement named {name!r}") from None
