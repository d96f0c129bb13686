"""The login by name and password: who comes in, what the cookie is, and how a session ends."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from celeriac.api import create_app
from celeriac.api.access import passwords, session
from celeriac.workflows.errors import UsageError

SECRET = "a secret of sixteen characters or more"
PASSWORD = "correct horse"
OWN = {"Sec-Fetch-Site": "same-origin"}  # as a browser says of a form of ours
CHEAP = "scrypt:1024:8:1"
USERS = ",".join(
    f"{name}:{role}:{generate_password_hash(PASSWORD, CHEAP)}"
    for name, role in (("vera", "viewer"), ("otto", "operator"), ("ada", "admin"))
)
BASIC = {"celeriac_login": "basic", "celeriac_users": USERS, "celeriac_secret_key": SECRET}


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(**BASIC)


def log_in(client: FlaskClient, name: str = "ada", password: str = PASSWORD, **form: str) -> Any:
    return client.post("/login", data={"name": name, "password": password, **form}, headers=OWN)


def cookie_of(answer: Any) -> str:
    found = [each for each in answer.headers.getlist("Set-Cookie") if "celeriac=" in each]
    assert 1 == len(found), answer.headers
    return str(found[0])


def audit(client: FlaskClient) -> list[tuple[str, str, str, int]]:
    """Who did what there, the oldest first."""
    assert 303 == log_in(client).status_code
    entries = client.get("/api/v1/audit").get_json()["audit"]
    return [(each["actor"], each["principal"], f"{each['method']} {each['path']}", each["status"]) for each in entries][
        ::-1
    ]


def test_who_looks_for_a_page_is_led_to_the_login_and_back(client: FlaskClient) -> None:
    led = client.get("/runs?q=tag:a%26b&x=%2F")
    assert (303, "/login?next=/runs?q%3Dtag:a%2526b%26x%3D%252F") == (led.status_code, led.headers["Location"])
    page = client.get(led.headers["Location"]).text
    wanted = re.search(r'name="next" value="([^"]*)"', page)
    assert wanted is not None
    answer = log_in(client, next=wanted[1].replace("&amp;", "&"))
    assert (303, "/runs?q=tag:a%26b&x=%2F") == (answer.status_code, answer.headers["Location"])
    assert 200 == client.get("/runs?q=tag:a").status_code
    assert 303 == client.get("/login").status_code  # there is nothing more to do there


def test_a_program_is_told_that_it_needs_a_key_and_is_led_nowhere(client: FlaskClient) -> None:
    refused = client.get("/api/v1/runs")
    assert (401, "Bearer") == (refused.status_code, refused.headers["WWW-Authenticate"].partition(" ")[0])
    moved = client.post("/runs/run_0/cancel", headers=OWN)
    assert 401 == moved.status_code
    assert "Basic" not in moved.headers["WWW-Authenticate"]  # no browser asks for a password of its own


def test_a_key_is_a_key_here_too(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(**BASIC, celeriac_api_key="root key")
    assert 200 == client.get("/api/v1/runs", headers={"Authorization": "Bearer root key"}).status_code
    assert 401 == client.get("/api/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code
    assert 401 == client.get("/api/v1/runs", auth=("ada", PASSWORD)).status_code


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("ada", ""), ("nobody", PASSWORD), ("", ""), ("ADA", PASSWORD), ("ada", PASSWORD + " ")],
)
def test_a_wrong_name_or_password_is_told_the_same_and_begins_nothing(
    client: FlaskClient, name: str, password: str
) -> None:
    refused = log_in(client, name, password)
    assert 401 == refused.status_code
    assert "This name and this password do not belong together." in refused.text
    assert [] == refused.headers.getlist("Set-Cookie")
    assert 303 == client.get("/runs").status_code


def test_an_unknown_name_costs_as_much_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    monkeypatch.setattr(passwords, "check_password_hash", lambda hash, _: computed.append(hash))
    users = passwords.parsed(passwords.line("ada", "admin", PASSWORD))
    for name in ("ada", "eve"):
        passwords.verified(users, name, "wrong password")
    known, unknown = computed
    assert known.partition("$")[0] == unknown.partition("$")[0]
    assert passwords.HASH.fullmatch(unknown)


def test_the_cookie_is_for_no_script_and_no_other_site_and_ends(client: FlaskClient) -> None:
    cookie = cookie_of(log_in(client))
    assert cookie.startswith("celeriac=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Domain" not in cookie
    assert "Expires" in cookie


def test_over_https_the_cookie_is_secure_and_of_this_host_alone(client: FlaskClient) -> None:
    given = {"data": {"name": "ada", "password": PASSWORD}, "headers": OWN, "base_url": "https://localhost"}
    cookie = cookie_of(client.post("/login", **given))
    assert cookie.startswith("__Host-celeriac=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert 200 == client.get("/runs", base_url="https://localhost").status_code


def test_a_session_that_somebody_planted_is_not_gone_on_with(make_client: Callable[..., FlaskClient]) -> None:
    """Fixation: the victim logs in with the cookie of the attacker, who knows it."""
    client = make_client(**BASIC)
    planted = cookie_of(log_in(client, "vera")).partition(";")[0].partition("=")[2]
    victim = make_client(**BASIC)
    victim.set_cookie("celeriac", planted)
    assert "vera" == victim.get("/api/v1/whoami").get_json()["name"]
    log_in(victim, "ada")
    assert "ada" == victim.get("/api/v1/whoami").get_json()["name"]
    client.set_cookie("celeriac", planted)
    assert "vera" == client.get("/api/v1/whoami").get_json()["name"]


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "evil.example",
        "/\t/evil.example",
        "/\r\nSet-Cookie: a=b",
        "\\\\evil.example",
        "javascript:alert(1)",
        "",
    ],
)
def test_the_login_leads_to_no_other_site(client: FlaskClient, place: str) -> None:
    answer = log_in(client, next=place)
    assert (303, "/") == (answer.status_code, answer.headers["Location"])
    again = client.get("/login", query_string={"next": place})
    assert (303, "/") == (again.status_code, again.headers["Location"])


def test_a_page_of_another_site_can_log_in_nobody_and_out_nobody(client: FlaskClient) -> None:
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        given = {"data": {"name": "ada", "password": PASSWORD}, "headers": headers}
        assert 403 == client.post("/login", **given).status_code
    log_in(client)
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        assert 403 == client.post("/logout", headers=headers).status_code
        assert 403 == client.post("/settings", data={"name": "k", "scope": "admin"}, headers=headers).status_code
    assert 200 == client.get("/settings").status_code


@pytest.mark.parametrize("headers", [OWN, {"Origin": "http://localhost"}])
def test_a_form_of_our_own_moves_something_and_the_person_is_the_actor(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    log_in(client, "otto")
    started = client.post("/workflows/api-tests.greet/start", data={"payload": '{"name": "Ada"}'}, headers=headers)
    assert 303 == started.status_code, started.text
    run = started.headers["Location"].partition("?")[0].rpartition("/")[2]
    history = client.get(f"/api/v1/runs/{run}/history").get_json()["history"]
    assert "otto" == history[0]["actor"]
    assert ("otto", "person:otto", "POST /workflows/api-tests.greet/start", 303) in audit(client)


def test_who_logs_out_is_out_and_the_page_says_so(client: FlaskClient) -> None:
    log_in(client)
    answer = client.post("/logout", headers=OWN)
    assert (303, "/login?notice=logged-out") == (answer.status_code, answer.headers["Location"])
    assert "Expires=Thu, 01 Jan 1970" in cookie_of(answer)
    assert "You are logged out." in client.get("/login?notice=logged-out").text
    assert 303 == client.get("/runs").status_code
    assert 401 == client.get("/api/v1/runs").status_code


def test_a_cookie_that_was_copied_before_its_owner_logged_out_is_worth_nothing(
    client: FlaskClient, make_client: Callable[..., FlaskClient]
) -> None:
    cookie = cookie_of(log_in(client)).partition(";")[0].partition("=")[2]
    thief, elsewhere = make_client(**BASIC), make_client(**BASIC)
    thief.set_cookie("celeriac", cookie)
    assert 200 == thief.get("/api/v1/whoami").status_code
    log_in(elsewhere)
    client.post("/logout", headers=OWN)
    assert [401, 200] == [each.get("/api/v1/whoami").status_code for each in (thief, elsewhere)]
    assert 303 == thief.post("/logout", headers=OWN).status_code  # again: it stays so


def test_a_session_ends_at_its_hour_however_busy_it_is(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    now = session.time.time()
    log_in(client)
    monkeypatch.setattr(session.time, "time", lambda: now + 12 * 3600 - 60)
    busy = client.get("/runs")
    assert (200, []) == (busy.status_code, busy.headers.getlist("Set-Cookie"))
    monkeypatch.setattr(session.time, "time", lambda: now + 12 * 3600 + 60)
    assert 401 == client.get("/api/v1/runs").status_code


def test_another_password_or_role_in_the_settings_holds_for_sessions_that_there_are(
    client: FlaskClient, make_client: Callable[..., FlaskClient]
) -> None:
    cookie = cookie_of(log_in(client, "otto")).partition(";")[0].partition("=")[2]
    hash = passwords.parsed(USERS)["otto"].hash
    other = generate_password_hash(PASSWORD, CHEAP)
    for users, status in ((f"otto:viewer:{hash}", 200), (f"otto:operator:{other}", 401), (f"eve:admin:{hash}", 401)):
        later = make_client(**{**BASIC, "celeriac_users": users})
        later.set_cookie("celeriac", cookie)
        told = later.get("/api/v1/whoami")
        assert status == told.status_code, users
        if status == 200:
            assert "runs:write" not in told.get_json()["scopes"]


def test_a_new_secret_logs_nobody_out_until_the_old_one_is_taken_away(
    client: FlaskClient, make_client: Callable[..., FlaskClient]
) -> None:
    cookie = cookie_of(log_in(client)).partition(";")[0].partition("=")[2]
    new = "another secret of sixteen characters"
    for secrets, status in ((f"{new},{SECRET}", 200), (new, 401)):
        later = make_client(**{**BASIC, "celeriac_secret_key": secrets})
        later.set_cookie("celeriac", cookie)
        assert status == later.get("/api/v1/whoami").status_code, secrets


def test_a_cookie_that_was_changed_is_nobodys(client: FlaskClient) -> None:
    value = cookie_of(log_in(client, "vera")).partition(";")[0].partition("=")[2]
    for changed in (value[:-1], value + "A", "A" + value[1:], value.replace(".", "", 1), "", "e30.e30.e30"):
        client.set_cookie("celeriac", changed)
        assert 401 == client.get("/api/v1/whoami").status_code, changed


def test_failed_logins_are_few_for_one_address_and_for_one_name(client: FlaskClient) -> None:
    for _ in range(10):
        assert 401 == log_in(client, "ada", "wrong").status_code
    refused = log_in(client)
    assert 429 == refused.status_code
    assert 1 <= int(refused.headers["Retry-After"]) <= 7
    elsewhere = {"environ_base": {"REMOTE_ADDR": "127.0.0.9"}, "headers": OWN}
    assert 429 == client.post("/login", data={"name": "ada", "password": PASSWORD}, **elsewhere).status_code
    assert 303 == client.post("/login", data={"name": "otto", "password": PASSWORD}, **elsewhere).status_code


def test_the_audit_has_who_came_in_who_did_not_and_who_left(client: FlaskClient) -> None:
    log_in(client, "otto", "wrong")
    log_in(client, "my password by mistake", "x")
    log_in(client, "otto")
    client.post("/logout", headers=OWN)
    assert [
        ("otto", "nobody", "POST /login", 401),
        ("somebody", "nobody", "POST /login", 401),
        ("otto", "person:otto", "POST /login", 303),
        ("otto", "person:otto", "POST /logout", 303),
        ("ada", "person:ada", "POST /login", 303),
    ] == audit(client)


def test_the_settings_say_how_people_come_in_and_to_admins_who_may_what(client: FlaskClient) -> None:
    log_in(client, "vera")
    page = client.get("/settings").text
    assert "users with passwords" in page
    assert "otto" not in page
    log_in(client, "ada")
    page = client.get("/settings").text
    assert "otto" in page
    assert CHEAP not in page


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"celeriac_login": "basic", "celeriac_users": USERS}, "celeriac_secret_key is not set"),
        ({"celeriac_login": "basic", "celeriac_secret_key": SECRET}, "celeriac_users is not set"),
        ({**BASIC, "celeriac_secret_key": "short"}, "celeriac_secret_key is short"),
        ({**BASIC, "celeriac_users": "ada:admin:plain"}, "`celeriac user` makes one"),
        ({**BASIC, "celeriac_users": USERS.replace("admin", "boss")}, "'boss' is no role"),
        ({**BASIC, "celeriac_users": f"{USERS},{USERS}"}, "'vera' stands there twice"),
        ({"celeriac_login": "oath"}, "did you mean 'oidc'|choose one of none, key, basic, oidc, proxy"),
        ({"celeriac_login": "none", "celeriac_api_key": "root"}, "take one of the two away"),
        ({"celeriac_login": "key"}, "celeriac_api_key is not set"),
    ],
)
def test_a_login_that_lacks_something_does_not_start_and_says_what(
    make_durable: Callable[..., Any], settings: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        create_app(make_durable(**settings))
    assert PASSWORD not in str(raised.value)
    assert "$" not in str(raised.value).replace("A $ of the hash", "")


def test_where_there_is_no_session_there_is_no_page_to_log_in(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client()
    for method, path in (
        ("GET", "/login"),
        ("POST", "/login"),
        ("POST", "/logout"),
        ("GET", "/login/start"),
        ("GET", "/login/callback"),
    ):
        assert 404 == client.open(path, method=method, headers=OWN).status_code, path


@pytest.mark.parametrize("address", ["192.0.2.9", "10.0.0.1", "::ffff:192.0.2.9", "2001:db8::1", ""])
def test_without_a_login_nobody_elsewhere_is_served_whatever_host_they_name(
    make_client: Callable[..., FlaskClient], address: str
) -> None:
    client = make_client()
    for path in ("/", "/api/v1/runs"):
        given = {"headers": {"Host": "localhost:8484"}, "environ_base": {"REMOTE_ADDR": address}}
        assert 403 == client.get(path, **given).status_code, path
    assert 200 == client.get("/", environ_base={"REMOTE_ADDR": "::1"}).status_code


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Host"])
def test_without_a_login_what_a_proxy_passed_on_is_refused(
    make_client: Callable[..., FlaskClient], header: str
) -> None:
    refused = make_client().get("/api/v1/runs", headers={header: "for=10.0.0.1"})
    assert 403 == refused.status_code
    assert "CELERIAC_LOGIN" in refused.get_json()["detail"]
