"""What people do with the page, by keyboard and mouse."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

Look = Callable[..., Page]


def test_slash_leads_to_the_search_and_an_id_in_it_to_its_run(look: Look, site: Any) -> None:
    page = look("/")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type(site.scene.failed)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/runs/{site.scene.failed}")


@pytest.mark.parametrize(("key", "path"), [("r", "/runs"), ("f", "/workflows"), ("q", "/queues"), ("o", "/")])
def test_g_and_a_letter_lead_to_a_place(look: Look, site: Any, key: str, path: str) -> None:
    page = look("/workers")
    page.keyboard.press("g")
    page.keyboard.press(key)
    expect(page).to_have_url(site.url + path)


def test_j_and_k_walk_the_rows_and_o_opens_one(look: Look) -> None:
    page = look("/runs?q=status:failed")
    for key in "jjk":
        page.keyboard.press(key)
    first = page.locator(".runs a.row").first
    expect(first).to_be_focused()
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile(r"/runs/run_[0-9a-f]{32}$"))


def test_a_letter_typed_into_a_field_is_a_letter(look: Look, site: Any) -> None:
    page = look("/runs")
    page.locator("#search").press_sequentially("gr?")
    assert "gr?" == page.locator("#search").input_value()
    assert not page.locator("#shortcuts").is_visible()
    assert page.url == f"{site.url}/runs"


def test_the_help_opens_by_its_key_and_closes_by_escape(look: Look) -> None:
    page = look("/runs")
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#shortcuts")).to_be_hidden()


def test_a_theme_that_is_chosen_is_there_before_the_next_page_is_painted(look: Look) -> None:
    page = look("/runs")
    page.keyboard.press("d")
    page.get_by_label("Dark", exact=True).check()
    page.goto(page.url)
    assert "dark" == page.evaluate("getComputedStyle(document.documentElement).colorScheme")


def test_times_are_shown_in_utc_where_that_was_chosen_and_stay_so_while_the_page_is_live(look: Look) -> None:
    page = look("/runs")
    page.keyboard.press("d")
    page.get_by_label("UTC", exact=True).check()
    at = page.locator("td.when time").first
    expect(at).to_have_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"))
    with page.expect_response(re.compile("/runs$")):
        page.evaluate("refresh()")
    expect(at).to_have_text(re.compile("Z$"))


def test_a_page_that_is_refreshed_keeps_the_focus_and_what_was_opened(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.running}")
    page.locator("#payload > summary").click()
    page.locator("#payload > summary").focus()
    page.evaluate("shown = 'something else'; refresh()")
    page.wait_for_function("shown !== 'something else'")
    expect(page.locator("#payload")).to_have_attribute("open", "")
    expect(page.locator("#payload > summary")).to_be_focused()


def test_rows_that_are_picked_are_what_the_buttons_mean(look: Look) -> None:
    page = look("/runs?q=status:failed")
    page.locator(".runs tbody input").nth(0).check()
    page.locator(".runs tbody input").nth(2).check()
    expect(page.locator("#chosen")).to_have_text("2 selected")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 2 runs?")


def test_a_brush_over_the_time_strip_narrows_the_list_to_its_span(look: Look) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    page = look(f"/runs?q=created:{now - timedelta(hours=24):%Y-%m-%dT%H:%MZ}..{now:%Y-%m-%dT%H:%MZ}")
    begin, end = page.locator("#strip a").nth(20), page.locator("#strip a").nth(40)
    at, until = begin.get_attribute("data-at"), end.get_attribute("data-until")
    here, there = begin.bounding_box(), end.bounding_box()
    assert here is not None
    assert there is not None
    page.mouse.move(here["x"] + 3, here["y"] + 20)
    page.mouse.down()
    page.mouse.move(there["x"] + 3, there["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(r"created%3A\d{4}"))
    narrowed = page.locator("#search").input_value()
    assert at is not None
    assert until is not None
    assert f"created:{at[:19]}" in narrowed
    assert until[:19] in narrowed


def test_the_charts_are_drawn_from_the_table_beside_them(look: Look) -> None:
    page = look("/")
    expect(page.locator("#chart-ended canvas")).to_be_visible()
    expect(page.locator("#chart-took canvas")).to_be_visible()
    page.locator("#twin > summary").click()
    expect(page.locator("#twin tbody tr")).to_have_count(96)


def test_without_scripts_the_page_is_whole(look: Look, site: Any, complaints: list[str]) -> None:
    page = look("/", java_script_enabled=False)
    expect(page.locator("#twin tbody tr").first).to_be_visible()
    page.goto(f"{site.url}/workflows/fulfil-order")
    page.locator("#field\\.order_id").fill("many")
    page.locator("#start-run").click()
    expect(page.locator("#fault-order_id")).to_have_text("'many' is not a whole number")
    assert ["422" in each for each in complaints] == [True]  # that is how a form with a fault comes back
    complaints.clear()
    page.locator("#field\\.order_id").fill("1093")
    page.locator("#start-run").click()
    expect(page.locator(".notice")).to_have_text("Started: this is the new run.")


def test_on_a_narrow_screen_the_places_open_over_the_page(look: Look, site: Any) -> None:
    page = look("/runs", narrow=True)
    expect(page.locator("#places")).to_be_hidden()
    page.get_by_role("button", name="All pages").click()
    page.locator("#places").get_by_role("link", name="Queues").click()
    expect(page).to_have_url(f"{site.url}/queues")
