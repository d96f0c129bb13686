"""The commands, in the test's own process, on real servers."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from celeriac import Celeriac
from celeriac.deploy.cli import celery_command


@pytest.fixture
def run(durable: Celeriac) -> Callable[..., Result]:
    """`celery -A shop celeriac ...`"""
    durable.register()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(celery_command, arguments, obj=SimpleNamespace(app=durable.app))

    return run
