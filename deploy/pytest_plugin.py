"""The fixture of the test kit, which pytest finds by the entry point `celeriac`. Nothing else imports pytest."""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..workflows.testing import Inline


@pytest.fixture
def inline() -> "Iterator[Inline]":
    """A world of runs in memory, in which the test's triggers, events and handles of runs belong."""
    # Loaded when it is used: pytest loads this module in every project that has Celeriac installed.
    kit = import_module("celeriac.workflows.testing")
    with kit.Inline() as world:
        yield world
