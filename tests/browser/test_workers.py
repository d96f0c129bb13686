"""The pages of the workers, with a worker at work: asked after the first paint, and steered."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery
from playwright.sync_api import Page, expect
from processes import Process, wait_until

Look = Callable[..., Page]

FOLDER = Path(__file__).parents[1] / "acceptance"
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
VIOLATIONS = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations.map(rule => rule.id)"


@pytest.fixture(scope="module")
def worker(site: Any, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A worker without Celeriac, which executes one task that does not end and has another one reserved."""
    folder = tmp_path_factory.mktemp("worker")
    environ = {**os.environ, "CELERY_BROKER_URL": site.durable.app.conf.broker_url}
    environ |= {"JOURNAL": str(folder / "journal"), "GATES": str(folder)}
    command = [sys.executable, "-m", "celery", "-A", "plain_shop", "worker", "-c", "1", "-n", "plain@borea"]
    process = Process(nursery, command, FOLDER, environ, folder / "log")
    workers = site.durable.remote_workers
    wait_until(lambda: [node.name for node in workers.all()])
    for queue in ("plain", "plain", "late", "late", "late"):
        site.durable.app.send_task("plain.pass", ("never",), {"password": "hunter2"}, queue=queue)
    wait_until(lambda: workers.one("plain@borea").reserved)
    yield workers
    process.end()


def test_what_workers_answer_comes_after_the_first_paint_and_has_no_barriers(look: Look, worker: Any) -> None:
    for path, text in (("/workers", "Lists of the broker"), ("/workers/plain@borea", "Registered tasks")):
        page = look(path)
        expect(page.get_by_role("heading", name=text)).to_be_visible()
        page.evaluate(AXE.read_text())
        assert [] == page.evaluate(VIOLATIONS)
        page.emulate_media(color_scheme="dark")
        assert [] == page.evaluate(VIOLATIONS)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_a_link_asks(look: Look, worker: Any) -> None:
    page = look("/workers", java_script_enabled=False)
    page.get_by_role("link", name="Ask all Celery workers").click()
    page.get_by_role("link", name="plain@borea").click()
    page.get_by_role("link", name="Ask it").click()
    expect(page.get_by_role("heading", name="Executes now")).to_be_visible()
    assert "hunter2" not in page.content()


def test_a_pool_grows_by_a_click(look: Look, worker: Any) -> None:
    page = look("/workers/plain@borea")
    page.get_by_label("Processes, or threads").fill("2")
    page.get_by_role("button", name="Grow").click()
    expect(page.locator(".notice")).to_have_text("Its pool grows.")
    wait_until(lambda: 3 == len(worker.one("plain@borea").pool["processes"]))


def test_what_a_worker_does_not_do_is_said_where_it_was_asked_for(
    look: Look, worker: Any, complaints: list[str]
) -> None:
    page = look("/workers/plain@borea")
    page.get_by_label("Scale between").fill("1")
    page.locator("#most").fill("3")
    page.get_by_role("button", name="Autoscale").click()
    expect(page.get_by_role("alert")).to_contain_text("Autoscale not enabled")
    expect(page.locator("#most")).to_have_value("3")
    assert ["409" in each for each in complaints] == [True]
    complaints.clear()


def test_a_list_is_purged_after_it_was_said_what_is_lost(look: Look, worker: Any) -> None:
    page = look("/workers")
    page.get_by_role("link", name="Purge late").click()
    expect(page.locator("main")).to_contain_text("3 messages wait in it")
    page.get_by_role("button", name="Drop 3 messages").click()
    expect(page.locator(".notice")).to_have_text("3 messages dropped.")
