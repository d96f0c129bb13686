"""The shop of twenty plain tasks: its own tests are green before one line was changed, and after."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery
from processes import Shop

from celeriac import Celeriac

FOLDER = Path(__file__).parents[2] / "examples" / "plain_celery"
AFTER = 'app = Celery("shop", task_cls="celeriac.workflows:DurableTask")  # the line that was changed'
BEFORE = 'app = Celery("shop")'


@pytest.fixture
def database_url(new_database_url: str) -> str:
    return new_database_url


@pytest.fixture(params=["before", "after"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, durable: Celeriac, nursery: Nursery) -> Iterator[Shop]:
    code = tmp_path / "code"
    shutil.copytree(FOLDER, code, ignore=shutil.ignore_patterns("__pycache__"))
    text = (code / "shop.py").read_text()
    assert text.count(AFTER) == 1
    if request.param == "before":
        (code / "shop.py").write_text(text.replace(AFTER, BEFORE))
    # The suite needs none of the plugins that are installed here, and they take seconds to load.
    environ = {"CELERY_RESULT_BACKEND": str(durable.settings.redis_url), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    shop = Shop(durable, nursery, code / "shop.py", tmp_path, environ)
    yield shop
    shop.end()


def test_the_tests_of_the_shop_are_green(shop: Shop, tmp_path: Path) -> None:
    assert 20 == (FOLDER / "shop.py").read_text().count("\n@app.task")
    shop.worker("-Q", "celery,media", concurrency=4)
    shop.beat()
    folder = tmp_path / "code"
    suite = shop.run([
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
        "--rootdir", str(folder), str(folder / "test_shop.py"),
    ])  # fmt: skip
    code = suite.wait(110)
    told = suite.log.read_text()
    assert 0 == code, f"{told}\n{shop.logs()}"
    assert "17 passed" in told
