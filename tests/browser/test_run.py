"""The page of a run in a browser: its steps by keyboard and mouse, its JSON, its actions, and how it stays fresh."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from celeriac.state import runs
from celeriac.state.ids import new_id, parse
from celeriac.state.runs import RunRow

Look = Callable[..., Page]
CLIPBOARD = ["clipboard-read", "clipboard-write"]
SHAPES = [{"dark": False}, {"dark": True}, {"narrow": True}]


@pytest.fixture
def started(site: Any) -> Callable[..., str]:
    """Starts a run of its own for a test to move."""
    return lambda **payload: str(site.durable.start("browser.polyglot", payload, {}).id)


@pytest.fixture
def told(site: Any) -> Callable[..., str]:
    """Writes a story of its own for a test to move."""
    import story  # registered by the fixture `site`

    def tell(name: str) -> str:
        database = site.durable.database
        made = getattr(story, name)(database.now(), *([new_id()] if name == "declined" else []))
        with database.transaction() as transaction:
            transaction.all("set local session_replication_role = replica")
            ids: list[str] = [each.write(transaction) for each in (made if isinstance(made, tuple) else (made,))]
            return ids[0]

    return tell


def row_of(site: Any, id: str) -> RunRow:
    row = runs.get(site.durable.database, parse("run", id))
    assert row is not None
    return row


def agree(page: Page) -> None:
    """To whatever the page asks."""
    page.evaluate("window.confirm = () => true")


def led_from(page: Page, id: str) -> str:
    """The run that the page shows now, which is another one."""
    page.wait_for_url(lambda url: id not in url.partition("?")[0])
    return page.url.partition("?")[0].rpartition("/")[2]


# Steps


def test_enter_opens_a_step_beside_the_rows_escape_closes_it_and_back_opens_it_again(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}")
    row = page.locator("a.key", has_text="reserve")
    row.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#inspector h3")).to_have_text("completedreserve")
    expect(page).to_have_url(re.compile(r"\?step=reserve#inspector$"))
    expect(row).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#inspector")).to_have_count(0)
    page.go_back()
    expect(page.locator("#inspector h3")).to_have_text("completedreserve")


def test_a_click_anywhere_on_a_row_opens_its_step(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}")
    page.locator("li > .lane", has_text="charge_card").locator(".length").click()
    inspector = page.locator("#inspector")
    for said in ("PaymentDeclined", "shop/orders.py:88", "Tries that failed", "tried again after", "the bank is slow"):
        expect(inspector).to_contain_text(said)


def test_arrows_walk_the_rows_and_fold_them(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}")
    page.locator("#attempt-1 > summary").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("a.key", has_text="reserve")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#attempt-1")).not_to_have_attribute("open", "")
    expect(page.locator("#attempt-1 > summary")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#attempt-2 > summary")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#attempt-1")).to_have_attribute("open", "")


def test_f_shows_failed_steps_only(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}")
    expect(page.locator(".rows a.key")).to_have_count(4)
    page.keyboard.press("f")
    expect(page.locator(".rows a.key")).to_have_text(["charge_card"])
    page.keyboard.press("f")
    expect(page.locator(".rows a.key")).to_have_count(4)


def test_a_child_is_unfolded_on_the_scale_of_its_parent_and_stays_so(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.approval}")
    page.locator("a.key", has_text="sync-customer-data").focus()
    page.keyboard.press("ArrowRight")
    inner = page.locator(".below a.key")
    expect(inner).to_have_text(["fetch_customer", "upsert_customer"])
    page.evaluate("shown = 'something else'; refresh()")
    page.wait_for_function("() => shown !== 'something else'")
    expect(inner).to_have_text(["fetch_customer", "upsert_customer"])
    page.locator("a.key", has_text="sync-customer-data").focus()
    page.keyboard.press("ArrowLeft")
    expect(inner.first).to_be_hidden()


def test_a_run_of_many_steps_is_shown_five_hundred_at_a_time(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.many}")
    expect(page.locator(".rows a.key")).to_have_count(500)
    page.locator("#further").click()
    expect(page.locator(".rows a.key").first).to_have_text("collect#501")
    page.locator("#further").click()
    expect(page.locator(".rows a.key")).to_have_count(200)
    expect(page.locator("#live")).to_have_text("live")  # it is another page, whose scripts have to come first
    page.keyboard.press("f")
    expect(page.locator(".rows a.key")).to_have_count(12)


def test_brackets_lead_to_the_runs_beside_it(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.before}")
    for key, rel in (("[", "prev"), ("]", "next"), ("]", "next")):
        address = page.locator(f".neighbours a[rel={rel}]").get_attribute("href")
        page.keyboard.press(key)
        expect(page).to_have_url(f"{site.url}{address}")


def test_the_help_lists_the_keys_of_a_run_and_they_rest_while_it_is_open(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}")
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_contain_text("Failed steps only")
    page.keyboard.press("f")
    expect(page).to_have_url(f"{site.url}/runs/{site.scene.declined}")


# JSON


def test_json_is_folded_searched_and_its_paths_are_copied(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}", permissions=CLIPBOARD)
    page.locator("#payload > summary").click()
    view = page.locator("#payload json-view")
    tree = view.get_by_role("tree")  # the text itself is in the page as well
    expect(tree.get_by_text("9007199254740993")).to_be_visible()  # which no number of JavaScript is
    expect(tree.get_by_text('"***"')).to_be_visible()
    tree.get_by_text("SKU-0042").click()
    expect(view.locator(".path")).to_have_text("$.lines[1].sku")
    view.get_by_role("button", name="Copy path").click()
    expect(view.get_by_role("button", name="Copied")).to_be_visible()
    assert "$.lines[1].sku" == page.evaluate("navigator.clipboard.readText()")
    view.get_by_role("treeitem", name='"customer"').click()
    page.keyboard.press("ArrowLeft")
    expect(tree.get_by_text("Ada Lovelace")).to_be_hidden()
    view.get_by_label("Find in this document").fill("lovelace")
    expect(tree.get_by_text("Ada Lovelace")).to_be_visible()
    expect(view.locator(".found")).to_have_text("1 found")
    expect(view.locator(".path")).to_have_text("$.customer.name")


def test_a_letter_typed_into_the_search_of_a_document_is_a_letter(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}")
    page.locator("#payload > summary").click()
    page.locator("#payload json-view").get_by_label("Find in this document").press_sequentially("frc?")
    assert page.url == f"{site.url}/runs/{site.scene.declined}"
    assert not page.locator("#shortcuts").is_visible()


def test_what_users_wrote_is_text_in_the_tree_too(look: Look, site: Any) -> None:
    from scene import POLYGLOT

    page = look(f"/runs/{site.scene.polyglot}")
    page.locator("#payload > summary").click()
    tree = page.locator("#payload json-view").get_by_role("tree")
    expect(tree).to_contain_text(json.dumps(POLYGLOT))
    expect(tree.locator("img, script, svg")).to_have_count(0)
    tree.get_by_role("treeitem").nth(1).click()
    expect(page.locator("#payload json-view .path")).to_have_text(f"$[{json.dumps(POLYGLOT)}]")


def test_what_is_copied_of_a_document_is_json(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}", permissions=CLIPBOARD)
    page.locator("#payload > summary").click()
    view = page.locator("#payload json-view")
    view.get_by_role("treeitem", name='"lines"').click()
    view.get_by_role("button", name="Copy", exact=True).click()
    expect(view.get_by_role("button", name="Copied")).to_be_visible()
    assert ["SKU-7781", "SKU-0042"] == [
        each["sku"] for each in json.loads(page.evaluate("navigator.clipboard.readText()"))
    ]


def test_a_run_is_copied_as_code(look: Look, site: Any) -> None:
    page = look(f"/runs/{site.scene.declined}", permissions=CLIPBOARD)
    page.locator("#again > summary").click()
    page.get_by_role("button", name="Copy as pytest fixture").click()
    expect(page.get_by_role("button", name="Copy as pytest fixture")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    compile(text, "copy.py", "exec")
    assert "def fulfil_order_run():" in text


# Actions


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_run_is_cancelled(look: Look, site: Any, started: Callable[..., str], shape: dict[str, bool]) -> None:
    page = look(f"/runs/{(id := started())}", **shape)
    page.evaluate("window.confirm = () => false")
    page.keyboard.press("c")
    assert "queued" == row_of(site, id).status
    agree(page)
    page.keyboard.press("c")
    expect(page.locator(".notice")).to_have_text("Cancelled.")
    expect(page).to_have_title(re.compile("^cancelled"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_run_is_paused_with_a_note_and_resumed(
    look: Look, started: Callable[..., str], shape: dict[str, bool]
) -> None:
    page = look(f"/runs/{started()}", **shape)
    page.locator("#drop-pause > summary").click()
    page.locator("#note").fill("a bad release")
    page.locator("#pause").click()
    expect(page.locator(".banner.paused")).to_contain_text("a bad release")
    page.locator("#resume").click()
    expect(page.locator(".banner.paused")).to_have_count(0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_failed_run_is_retried_by_its_key(
    look: Look, site: Any, told: Callable[..., str], shape: dict[str, bool]
) -> None:
    page = look(f"/runs/{(id := told('declined'))}", **shape)
    expect(page.locator(".outlook")).to_contain_text("Kept: reserve, quote, release. Runs again: charge_card")
    page.keyboard.press("r")
    expect(page.locator(".notice")).to_contain_text("Retried")
    assert ("queued", 3) == ((row := row_of(site, id)).status, row.attempt)


def test_r_asks_before_it_replays_a_run_that_needs_no_retry(look: Look, site: Any) -> None:
    page = look(f"/runs/{(id := site.scene.before)}")
    page.evaluate("window.confirm = () => false")
    page.keyboard.press("r")
    agree(page)
    page.keyboard.press("r")
    assert ("replay", id) == ((row := row_of(site, led_from(page, id))).source, row.source_id)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_run_goes_on_from_a_step_as_a_new_one(
    look: Look, site: Any, told: Callable[..., str], shape: dict[str, bool]
) -> None:
    page = look(f"/runs/{(id := told('declined'))}?step=quote", **shape)
    expect(page.locator(".resume")).to_contain_text("Kept: reserve. Runs again: quote, charge_card, release")
    agree(page)
    page.locator("#fork").click()
    assert ("fork", id) == ((row := row_of(site, led_from(page, id))).source, row.source_id)
    expect(page.locator(".rows a.key")).to_have_text(["reserve"])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_run_is_replayed_with_a_payload_that_was_edited(
    look: Look, site: Any, told: Callable[..., str], shape: dict[str, bool]
) -> None:
    page = look(f"/runs/{(id := told('declined'))}", **shape)
    page.locator("#edit > summary").click()
    page.locator("#payload-again").fill('{"order_id": 7, "note": "***"}')
    page.locator("#replay-edited").click()
    assert {"order_id": 7, "note": "***"} == json.loads(row_of(site, led_from(page, id)).payload)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_failed_step_is_skipped_with_a_value(
    look: Look, site: Any, told: Callable[..., str], shape: dict[str, bool]
) -> None:
    page = look(f"/runs/{(id := told('declined'))}?step=charge_card", **shape)
    page.locator("#supply").fill('{"receipt": "by hand"}')
    page.locator("#supply-value").click()
    expect(page.locator("#inspector")).to_contain_text("supplied, by page")
    assert "queued" == row_of(site, id).status


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_token_is_completed(look: Look, site: Any, told: Callable[..., str], shape: dict[str, bool]) -> None:
    page = look(f"/runs/{(id := told('approval'))}?step=approval", **shape)
    page.locator("#token-result").fill('{"approved": true}')
    page.locator("#complete").click()
    expect(page.locator(".notice")).to_have_text("The token is completed, and the run goes on.")
    expect(page.locator("#inspector")).to_contain_text("approved")
    assert "queued" == row_of(site, id).status


def test_a_result_that_is_no_json_comes_back_with_what_is_wrong(
    look: Look, told: Callable[..., str], complaints: list[str]
) -> None:
    page = look(f"/runs/{told('approval')}?step=approval")
    page.locator("#token-result").fill("{approved")
    page.locator("#complete").click()
    expect(page.locator("#step-fault")).to_contain_text("this is not JSON")
    expect(page.locator("#token-result")).to_have_value("{approved")
    assert ["422" in each for each in complaints] == [True]
    complaints.clear()


def test_without_scripts_a_step_is_opened_and_its_token_completed(
    look: Look, site: Any, told: Callable[..., str]
) -> None:
    page = look(f"/runs/{(id := told('approval'))}", java_script_enabled=False)
    page.locator("a.key", has_text="reserve").click()
    expect(page.locator("#inspector pre").first).to_contain_text('"reservation": "r-5520"')
    page.locator("a.key", has_text="approval").click()
    page.locator("#token-result").fill("true")
    page.locator("#complete").click()
    expect(page.locator(".notice")).to_contain_text("The token is completed")
    assert "queued" == row_of(site, id).status


# Live


def claim(site: Any, id: str) -> RunRow:
    claimed = runs.claim(
        site.durable.database, parse("run", id), worker_id=new_id(), worker_pid=1, version="v", epoch=None
    )
    assert claimed is not None
    return claimed[0]


def test_a_page_hears_of_its_run_by_the_stream(look: Look, site: Any, started: Callable[..., str]) -> None:
    page = look(f"/runs/{(id := started())}")
    page.wait_for_function("() => stream?.readyState === EventSource.OPEN")
    page.evaluate("clearTimeout(due)")  # else it might look by itself
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/static/icon-waiting.svg")
    page.locator("#payload > summary").click()
    page.locator("#payload > summary").focus()
    run = claim(site, id)
    expect(page).to_have_title(re.compile("^running"))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/static/icon-running.svg")
    expect(page.locator("#payload")).to_have_attribute("open", "")
    expect(page.locator("#payload > summary")).to_be_focused()
    runs.complete(site.durable.database, run.id, run.epoch, '"done"')
    expect(page).to_have_title(re.compile("^completed"))
    page.wait_for_function("() => stream === null")


def test_a_list_hears_of_new_runs_by_the_stream(look: Look, site: Any, started: Callable[..., str]) -> None:
    page = look("/runs?q=workflow:browser.polyglot")
    page.wait_for_function("() => stream?.readyState === EventSource.OPEN")
    page.evaluate("clearTimeout(due)")
    id = started()
    expect(page.locator(f"#row-{id}")).to_be_visible()


def test_a_page_whose_stream_is_refused_looks_by_itself(
    look: Look, site: Any, started: Callable[..., str], complaints: list[str]
) -> None:
    page = look("/workers")
    page.route("**/stream?*", lambda route: route.fulfill(status=503, body="no room"))
    page.goto(f"{site.url}/runs/{(id := started())}")
    page.wait_for_function("() => stream === null && refusedAt > 0")
    claim(site, id)
    expect(page).to_have_title(re.compile("^running"))
    assert all("503" in each for each in complaints)
    complaints.clear()


def test_a_page_that_is_not_seen_leaves_its_stream(look: Look, started: Callable[..., str]) -> None:
    page = look(f"/runs/{started()}")
    page.wait_for_function("() => stream?.readyState === EventSource.OPEN")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert page.evaluate("stream === null")
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("() => stream?.readyState === EventSource.OPEN")


def test_what_is_typed_is_not_patched_away(look: Look, site: Any, told: Callable[..., str]) -> None:
    page = look(f"/runs/{told('approval')}?step=approval")
    page.locator("#token-result").fill("half of an ans")
    page.evaluate("shown = 'something else'; refresh()")
    expect(page.locator("#live")).to_have_text("paused")
    expect(page.locator("#token-result")).to_have_value("half of an ans")


def test_the_clock_of_a_live_run_goes_on(look: Look, started: Callable[..., str]) -> None:
    page = look(f"/runs/{started()}")
    page.evaluate("clearTimeout(due)")
    said = page.locator(".clock").inner_text()
    expect(page.locator(".clock")).not_to_have_text(said)
