"""The login, as people meet it: the form, what each role is offered, and the way out."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oidc_provider import CLIENT_ID, CLIENT_SECRET, provided
from playwright.sync_api import Page, expect
from werkzeug.security import generate_password_hash

Look = Callable[..., Page]

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
VIOLATIONS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`))"""
PASSWORD = "correct horse"
USERS = ",".join(
    f"{name}:{role}:{generate_password_hash(PASSWORD, 'scrypt:1024:8:1')}"
    for name, role in (("vera", "viewer"), ("otto", "operator"), ("ada", "admin"))
)
BASIC = {
    "celeriac_login": "basic",
    "celeriac_users": USERS,
    "celeriac_secret_key": "a secret of sixteen characters or more",
}
MOVABLE = {  # pages, and the id of something that moves there
    "/runs/{failed}": "retry",
    "/runs/{waiting}": "cancel",
    "/queues/send-newsletter": "resume",
    "/schedules/{schedule}": "pause",
    "/workflows/fulfil-order": "start-run",
    "/webhooks/endpoints/github": "pause",
    "/webhooks/subscriptions": "create",
}
FORMS = "form[method=post]:not([action$='/logout'])"


@pytest.fixture(scope="session")
def guarded(site: Any) -> Iterator[Any]:
    """The same shop, for those who log in."""
    from serving import serving_also  # registered by the fixture `site`

    with serving_also(site, **BASIC) as served:
        yield served


@pytest.fixture(scope="session")
def still(site: Any) -> Iterator[Any]:
    """The same shop, for those who log in, read-only."""
    from serving import serving_also

    with serving_also(site, **BASIC, celeriac_read_only=True) as served:
        yield served


@pytest.fixture(scope="session")
def keyed(site: Any) -> Iterator[Any]:
    """The same shop, for those who have a key."""
    from serving import serving_also

    with serving_also(site, celeriac_api_key="root key") as served:
        yield served


@pytest.fixture(scope="session")
def by_provider(site: Any) -> Iterator[Any]:
    """The same shop, for those whom a provider knows."""
    from serving import serving_also

    with provided() as provider:
        settings = {
            "celeriac_login": "oidc",
            "celeriac_oidc_issuer": provider.url,
            "celeriac_oidc_client_id": CLIENT_ID,
            "celeriac_oidc_client_secret": CLIENT_SECRET,
            "celeriac_secret_key": BASIC["celeriac_secret_key"],
            "celeriac_roles": "ada@example.org:viewer",
        }
        with serving_also(site, **settings) as served:
            yield served


@pytest.fixture(autouse=True)
def nobody_has_tried_yet(site: Any) -> None:
    """Each test may try to log in as often as one person may in a minute."""
    redis = site.durable.buckets._redis
    for key in redis.scan_iter("celeriac:limit:login*"):
        redis.delete(key)


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def path_of(site: Any, path: str) -> str:
    return str(site.url + path.format(**{name: getattr(site.scene, name) for name in site.scene.__dataclass_fields__}))


def test_who_is_led_to_the_form_comes_back_to_where_they_wanted_to_go_and_leaves(look: Look, guarded: Any) -> None:
    page = look(f"{guarded.url}/runs?q=status:failed")
    expect(page).to_have_title("Log in · Celeriac")
    expect(page.get_by_label("Name")).to_be_focused()
    log_in(page, "otto")
    expect(page).to_have_url(f"{guarded.url}/runs?q=status:failed")
    page.get_by_role("button", name="You are otto").click()
    expect(page.locator("#person")).to_contain_text("operator")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_have_text("You are logged out.")
    page.goto(f"{guarded.url}/runs")
    expect(page).to_have_url(re.compile(r"/login\?next="))


def test_a_wrong_password_is_told_and_the_name_stays(look: Look, guarded: Any, complaints: list[str]) -> None:
    page = look(f"{guarded.url}/")
    page.get_by_label("Name").fill("otto")
    page.get_by_label("Password").fill("wrong horse")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This name and this password do not belong together.")
    expect(page.get_by_label("Name")).to_have_value("otto")
    expect(page.get_by_label("Password")).to_be_focused()
    assert ["401" in each for each in complaints] == [True]
    complaints.clear()
    log_in(page, "otto")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_it_all_works_without_scripts(look: Look, guarded: Any) -> None:
    page = look(f"{guarded.url}/queues", java_script_enabled=False)
    log_in(page, "ada")
    expect(page).to_have_url(f"{guarded.url}/queues")
    page.get_by_role("button", name="You are ada").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_have_text("You are logged out.")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_the_form_and_the_menu_have_no_barriers_and_fit(look: Look, guarded: Any, dark: bool, narrow: bool) -> None:
    page = look(f"{guarded.url}/login?notice=logged-out", dark=dark, narrow=narrow)
    for name in ("", "ada"):
        if name:
            log_in(page, name)
            page.get_by_role("button", name=f"You are {name}").click()
        page.evaluate(AXE.read_text())
        assert [] == page.evaluate(VIOLATIONS)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("name", "sees"), [("vera", False), ("otto", True)])
def test_who_may_only_look_is_offered_nothing_to_move(look: Look, guarded: Any, name: str, sees: bool) -> None:
    page = look(f"{guarded.url}/")
    log_in(page, name)
    for path, id in MOVABLE.items():
        page.goto(path_of(guarded, path))
        assert sees == (page.locator(f"#{id}").count() == 1), path
        assert sees == (page.locator(FORMS).count() > 0), path
    page.goto(f"{guarded.url}/runs?q=status:failed")
    assert sees == (page.locator(".runs .pick input").count() > 0)
    assert sees == (page.get_by_role("button", name="Retry").count() == 1)


def test_pages_of_a_viewer_have_no_barriers(look: Look, guarded: Any) -> None:
    page = look(f"{guarded.url}/")
    log_in(page, "vera")
    for path in (*MOVABLE, "/runs", "/queues", "/settings"):
        page.goto(path_of(guarded, path))
        page.evaluate(AXE.read_text())
        assert [] == page.evaluate(VIOLATIONS), path
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.set_viewport_size({"width": 1280, "height": 900})


def test_a_server_that_is_read_only_says_so_and_offers_nothing_even_to_an_admin(look: Look, still: Any) -> None:
    page = look(f"{still.url}/")
    log_in(page, "ada")
    expect(page.locator(".top").get_by_text("read-only")).to_be_visible()
    for path in (*MOVABLE, "/errors", "/queues", "/schedules", "/webhooks", "/settings", "/bulk"):
        page.goto(path_of(still, path))
        assert 0 == page.locator(FORMS).count(), path


def test_a_page_that_was_opened_with_a_key_as_its_password_hears_of_changes_by_the_stream(
    look: Look, keyed: Any
) -> None:
    password = {"username": "ada", "password": "root key"}
    for path in ("/runs", "/runs/{running}"):
        page = look(path_of(keyed, path), http_credentials=password)
        page.wait_for_function("() => stream?.readyState === EventSource.OPEN")


def test_the_provider_leads_back_across_sites(look: Look, by_provider: Any) -> None:
    own = by_provider.url.replace("127.0.0.1", "localhost")  # to a browser another site than that of the provider
    page = look(f"{own}/queues?x=1")
    page.evaluate(AXE.read_text())
    assert [] == page.evaluate(VIOLATIONS)
    page.get_by_role("link", name="Log in by 127.0.0.1").click()
    expect(page).to_have_url(f"{own}/queues?x=1")
    page.get_by_role("button", name="You are ada@example.org").click()
    page.get_by_role("button", name="Log out").click()  # the provider ends its session, and leads back
    expect(page).to_have_url(f"{own}/login?state=logged-out")
    expect(page.get_by_role("status")).to_have_text("You are logged out.")


def test_a_session_that_ended_leads_the_open_page_to_the_form(look: Look, guarded: Any) -> None:
    page = look(f"{guarded.url}/queues")
    log_in(page, "ada")
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    page.context.clear_cookies()
    page.evaluate("refresh()")
    expect(page.get_by_label("Password")).to_be_visible()
    log_in(page, "ada")
    expect(page).to_have_url(f"{guarded.url}/queues")
