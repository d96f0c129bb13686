"""Every page, as a browser shows it: accessible in both themes, within 390 pixels, and deaf to what users wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

Look = Callable[..., Page]

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PAGES = {
    "overview": "/",
    "runs": "/runs",
    "some runs": "/runs?q=status:failed workflow:sync* created:>24h",
    "no runs": "/runs?q=tag:nobody-has-this",
    "failed run": "/runs/{failed}",
    "running run": "/runs/{running}",
    "waiting run": "/runs/{waiting}",
    "run with a step": "/runs/{declined}?step=charge_card",
    "run with a token": "/runs/{approval}?step=approval",
    "run with an output": "/runs/{before}?step=reserve",
    "checkpoints": "/runs/{declined}?view=checkpoints",
    "run of many steps": "/runs/{many}",
    "comparison": "/runs/{before}/diff?with={declined}",
    "what can be compared": "/runs/{declined}/diff",
    "attempts": "/runs/{declined}/diff?attempts=1,2",
    "workflows": "/workflows",
    "workflow": "/workflows/fulfil-order",
    "queues": "/queues",
    "queue": "/queues/send-newsletter",
    "schedules": "/schedules",
    "schedule": "/schedules/{schedule}",
    "webhooks": "/webhooks",
    "endpoint": "/webhooks/endpoints/github",
    "delivery": "/webhooks/deliveries/{delivery}",
    "errors": "/errors",
    "alerts": "/errors/alerts",
    "alert": "/errors/alerts/ops",
    "workers": "/workers",
    "worker": "/workers/celery@atlas",
    "logs": "/logs",
    "events": "/events",
    "reference": "/docs",
    "settings": "/settings",
    "bulk": "/bulk",
    "bulk order": "/bulk/new?action=retry&q=status:failed",
    "strange run": "/runs/{polyglot}",
}
VIOLATIONS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`))"""
OVERFLOWING = """() => [...document.querySelectorAll("main *")].filter(
    each => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, .chips, pre")
).slice(0, 3).map(each => each.outerHTML.slice(0, 160))"""


def path_of(site: Any, name: str) -> str:
    return PAGES[name].format(**{field: getattr(site.scene, field) for field in site.scene.__dataclass_fields__})


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_barriers_in_either_theme_and_fits_a_narrow_screen(look: Look, site: Any, name: str) -> None:
    page = look(path_of(site, name))
    page.evaluate(AXE.read_text())
    assert [] == page.evaluate(VIOLATIONS)
    page.emulate_media(color_scheme="dark")
    assert [] == page.evaluate(VIOLATIONS)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, page.evaluate(OVERFLOWING)


def test_the_page_of_an_error_has_no_barriers_either(look: Look, complaints: list[str]) -> None:
    for path in ("/nothing", "/runs?q=stat:failed"):
        page = look(path)
        page.evaluate(AXE.read_text())
        assert [] == page.evaluate(VIOLATIONS)
        page.goto("about:blank")  # else it is refreshed, and complains once more
    assert all("Failed to load resource" in each for each in complaints), complaints
    complaints.clear()


@pytest.mark.parametrize("name", ["overview", "runs", "strange run", "errors", "workflows", "delivery", "endpoint"])
def test_what_users_wrote_is_text_and_nothing_of_it_runs(look: Look, site: Any, name: str) -> None:
    page = look(path_of(site, name))
    page.wait_for_function("document.getElementById('live').textContent === 'live'")
    assert 0 == page.locator("main img, main iframe, main script").count()
    if name == "strange run":
        from scene import POLYGLOT  # registered by the fixture `site`

        assert POLYGLOT in page.locator("main").inner_text()
        assert str(191 * 7919) not in page.locator("main").inner_text()
