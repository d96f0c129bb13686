"""One Chromium and one shop for all tests of the ring; a page of its own for each test.

A test fails where the browser complains: an error in the console, a script that raised, something that the
Content-Security-Policy refused, a dialog.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


def sibling(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def site(postgres_url: str, redis_server_url: str) -> Iterator[Any]:
    """The scene's shop, served."""
    sibling("story")
    sibling("scene")
    name = "browser_scene"
    server = Database(postgres_url)
    server.all(f"drop database if exists {name} with (force)")
    server.all(f"create database {name}")
    server.close()
    url = f"{postgres_url.rpartition('/')[0]}/{name}"
    database = Database(url)
    migrate(database)
    database.close()
    with sibling("serving").serving(url, redis_server_url) as served:
        yield served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of; a test that expects one takes it out."""
    return []


@pytest.fixture
def look(site: Any, browser: Browser, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a path of the site: `look("/runs", dark=True, narrow=True)`."""
    contexts = []

    def look(path: str, *, dark: bool = False, narrow: bool = False, **options: Any) -> Page:
        context = browser.new_context(
            viewport=NARROW if narrow else WIDE, color_scheme="dark" if dark else "light", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(path if "://" in path else site.url + path)
        return page

    yield look
    for context in contexts:
        context.close()
    assert [] == complaints
