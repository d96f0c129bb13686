"""The files of the project, as they are in a checkout: with what is not committed yet, without what is ignored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import celeriac

ROOT = Path(celeriac.__file__).parent
FOLDERS = ("state", "workflows", "beat", "api", "deploy", "tests", "examples", "bench", "docs", ".ci")


def project_files() -> Iterator[Path]:
    """Every file of the project, in the order of its path."""
    yield from sorted(path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and not {"__pycache__", ".celeriac"} & set(path.parts):
                yield path


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    return list(project_files())
