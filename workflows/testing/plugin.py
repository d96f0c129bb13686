"""The fixture of the test kit, which pytest finds by the entry point `celeriac`."""

from collections.abc import Iterator

import pytest

from .inline import Inline


@pytest.fixture
def inline() -> Iterator[Inline]:
    """A world of runs in memory, in which the test's triggers, events and handles of runs belong."""
    with Inline() as world:
        yield world
