"""The login by OpenID Connect, against a provider that signs real tokens: what is believed, and what is not."""

import html
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, provided

from celeriac.api import create_app
from celeriac.api.access import session
from celeriac.workflows.errors import UsageError

SECRET = "a secret of sixteen characters or more"
ROLES = "ada@example.org:admin, @example.org:viewer, group:ops:operator, user:4712:operator"
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with provided() as provider:
        yield provider


@pytest.fixture
def settings(provider: Provider) -> dict[str, str]:
    return {
        "celeriac_login": "oidc",
        "celeriac_oidc_issuer": provider.url,
        "celeriac_oidc_client_id": CLIENT_ID,
        "celeriac_oidc_client_secret": CLIENT_SECRET,
        "celeriac_secret_key": SECRET,
        "celeriac_roles": ROLES,
    }


@pytest.fixture
def client(make_client: Callable[..., FlaskClient], settings: dict[str, str]) -> FlaskClient:
    return make_client(**settings)


def leave(client: FlaskClient, next: str = "/") -> str:
    """Goes to the provider; the address with which it sends the browser back."""
    away = client.get("/login/start", query_string={"next": next})
    assert 302 == away.status_code, away.text
    back = requests.get(away.headers["Location"], allow_redirects=False, timeout=10)
    return str(back.headers["Location"])


def come_back(client: FlaskClient, address: str) -> Any:
    parts = urlsplit(address)
    return client.get(f"{parts.path}?{parts.query}")


def log_in(client: FlaskClient, next: str = "/") -> Any:
    return come_back(client, leave(client, next))


def who(client: FlaskClient) -> Any:
    told = client.get("/api/v1/whoami")
    return told.get_json()["name"] if told.status_code == 200 else told.status_code


def test_who_the_provider_knows_comes_in_and_where_they_wanted_to_go(client: FlaskClient, provider: Provider) -> None:
    led = client.get("/runs?q=tag:a")
    page = client.get(led.headers["Location"])
    assert f"Log in by {provider.url.removeprefix('http://')}" in page.text
    answer = log_in(client, "/runs?q=tag:a")
    assert (303, "/runs?q=tag:a") == (answer.status_code, answer.headers["Location"])
    assert "ada@example.org" == who(client)
    assert 200 == client.get("/settings").status_code


def test_the_provider_is_asked_with_pkce_state_and_nonce_and_each_is_another_each_time(
    client: FlaskClient, provider: Provider
) -> None:
    leave(client)
    leave(client)
    first, second = provider.asked
    assert ("code", "S256", CLIENT_ID) == (first["response_type"], first["code_challenge_method"], first["client_id"])
    assert "openid email profile" == first["scope"]
    assert "http://localhost/login/callback" == first["redirect_uri"]
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 20, name
        assert first[name] != second[name]


def test_the_address_to_come_back_to_is_the_public_one(
    make_client: Callable[..., FlaskClient], settings: dict[str, str], provider: Provider
) -> None:
    client = make_client(**settings, celeriac_public_url="https://runs.example.org/ops/")
    leave(client)
    assert "https://runs.example.org/ops/login/callback" == provider.asked[0]["redirect_uri"]


@pytest.mark.parametrize(
    ("claims", "name", "role"),
    [
        ({"email": "ADA@Example.org"}, "ADA@Example.org", "admin"),
        ({"email": "bea@example.org"}, "bea@example.org", "viewer"),
        ({"email": "bea@other.org", "groups": ["dev", "ops"]}, "bea@other.org", "operator"),
        ({"email": "bea@example.org", "groups": "ops"}, "bea@example.org", "operator"),
        ({"email": None, "sub": "4712"}, "4712", "operator"),
        ({"email": "ada@example.org", "email_verified": False, "sub": "4712"}, "4712", "operator"),
    ],
)
def test_a_role_is_by_mail_domain_group_or_subject(
    client: FlaskClient, provider: Provider, claims: dict[str, Any], name: str, role: str
) -> None:
    provider.claims |= claims
    assert 303 == log_in(client).status_code
    told = client.get("/api/v1/whoami").get_json()
    assert (name, f"person:{name}") == (told["name"], told["principal"])
    assert {"viewer": False, "operator": True, "admin": True}[role] == (client.get("/api/v1/audit").status_code == 200)
    assert (role == "admin") == (client.get("/api/v1/keys").status_code == 200)


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "ada@example.org.evil.example"},
        {"email": "ada@evil.example"},
        {"email": "ada@sub.example.org"},
        {"email": "ada@evil.example@example.org"},
        {"email": "ada@example.org", "email_verified": False},
        {"email": "ada@example.org", "email_verified": None},
        {"email": "ada@example.org", "email_verified": "yes"},
        {"email": ["ada@example.org"]},
        {"email": None, "groups": ["OPS", "ops2", ["ops"]]},
        {"email": None, "preferred_username": "ada@example.org", "name": "ada@example.org"},
    ],
)
def test_who_has_no_role_stays_out_and_is_told_whom_to_ask(
    client: FlaskClient, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims |= claims
    refused = log_in(client)
    assert (403, True) == (refused.status_code, "nobody gave you a role here: ask an admin" in refused.text)
    assert 401 == who(client)


@pytest.mark.parametrize(
    "lie",
    [
        {"aud": "another client"},
        {"aud": ["another client"]},
        {"aud": "another client", "azp": CLIENT_ID},
        {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"nonce": "another nonce, of a login that was not ours"},
        {"nonce": None},
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200},
        {"exp": None},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"sub": None},
    ],
    ids=" and ".join,  # values of time would name it anew each second
)
def test_a_token_that_is_not_for_this_login_is_refused(
    client: FlaskClient, provider: Provider, lie: dict[str, Any]
) -> None:
    provider.lies = lie
    refused = log_in(client)
    assert (401, True) == (refused.status_code, "did not confirm who you are" in refused.text)
    assert 401 == who(client)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_that_chose_its_own_algorithm_is_refused(
    client: FlaskClient, provider: Provider, algorithm: str
) -> None:
    provider.header = {"alg": algorithm}
    assert 401 == log_in(client).status_code
    assert 401 == who(client)


def test_a_token_that_another_key_signed_is_refused(client: FlaskClient, provider: Provider) -> None:
    provider.forger = RSAKey.generate_key(2048)
    assert 401 == log_in(client).status_code
    provider.forger = None
    assert 303 == log_in(client).status_code


def test_a_provider_may_rotate_its_keys(client: FlaskClient, provider: Provider) -> None:
    assert 303 == log_in(client).status_code
    provider.rotate()
    client.post("/logout", headers=OWN)
    assert 303 == log_in(client).status_code
    assert "ada@example.org" == who(client)


def test_a_key_that_is_another_under_the_same_name_is_fetched_after_one_refusal(
    client: FlaskClient, provider: Provider
) -> None:
    assert 303 == log_in(client).status_code
    old = provider._keys[0].kid
    provider._keys = [RSAKey.generate_key(2048, {"kid": old, "use": "sig"})]
    assert [401, 303] == [log_in(client).status_code, log_in(client).status_code]


def test_what_comes_back_must_be_what_this_browser_left_with(
    client: FlaskClient, make_client: Callable[..., FlaskClient], settings: dict[str, str]
) -> None:
    back, other = leave(client), make_client(**settings)
    assert 401 == come_back(other, back).status_code  # login CSRF: the code of the attacker in the victim's browser
    assert 401 == who(other)
    state = parse_qs(urlsplit(back).query)["state"][0]
    assert 401 == client.get(f"/login/callback?code=forged&state={state}").status_code
    assert 401 == client.get("/login/callback?error=access_denied").status_code
    assert 401 == client.get("/login/callback").status_code
    assert 401 == who(client)


def test_a_way_back_can_be_gone_once(client: FlaskClient) -> None:
    back = leave(client)
    assert 303 == come_back(client, back).status_code
    client.post("/logout", headers=OWN)
    assert 401 == come_back(client, back).status_code
    assert 401 == who(client)


def test_a_session_that_is_written_anew_lasts_no_longer(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    log_in(client)
    monkeypatch.setattr(session.time, "time", lambda: now + 11 * 3600)
    assert client.get("/login/start").headers.getlist("Set-Cookie")
    assert "ada@example.org" == who(client)
    monkeypatch.setattr(session.time, "time", lambda: now + 13 * 3600)
    assert 401 == who(client)


def test_what_was_in_the_cookie_before_is_not_in_the_session(client: FlaskClient) -> None:
    leave(client)
    answer = log_in(client)
    assert 303 == answer.status_code
    with client.session_transaction() as made:
        known = {session.ID, session.BY, session.UNTIL, session.HINT, "user", "email", "groups", "_permanent"}
        assert known == set(made)


def leave_for_good(client: FlaskClient) -> Any:
    """Logs out, and goes where that leads."""
    told = client.post("/logout", headers=OWN)
    assert 200 == told.status_code, told.headers
    assert "no-store" == told.headers["Cache-Control"]
    (way,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', told.text)
    return requests.get(html.unescape(way), allow_redirects=False, timeout=10)


def test_who_logs_out_is_logged_out_by_the_provider_too_and_led_back(client: FlaskClient, provider: Provider) -> None:
    log_in(client)
    back = leave_for_good(client)
    assert 401 == who(client)
    (left,) = provider.left
    assert {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} == set(left)
    assert "http://localhost/login" == left["post_logout_redirect_uri"]
    assert "You are logged out." in come_back(client, back.headers["Location"]).text


def test_the_provider_is_told_the_public_address_to_lead_back_to(
    make_client: Callable[..., FlaskClient], settings: dict[str, str], provider: Provider
) -> None:
    client = make_client(**settings, celeriac_public_url="https://runs.example.org/")
    log_in(client)
    leave_for_good(client)
    assert "https://runs.example.org/login" == provider.left[0]["post_logout_redirect_uri"]


def test_a_token_that_is_too_long_for_a_cookie_is_no_hint_and_the_provider_is_told_without(
    client: FlaskClient, provider: Provider
) -> None:
    provider.claims["groups"] = [f"group-{n}" for n in range(500)]
    assert 303 == log_in(client).status_code
    cookie = client.get_cookie("celeriac")
    assert cookie is not None
    assert 4096 > len(cookie.value)
    told = client.post("/logout", headers=OWN)
    assert f"{provider.url}/logout?client_id=celeriac" in told.text
    assert "id_token_hint" not in told.text


@pytest.mark.parametrize("place", [None, "http://evil.example/logout", "javascript:alert(1)", 7])
def test_a_provider_without_a_place_to_log_out_leaves_it_at_our_own_session_and_the_page_says_so(
    client: FlaskClient, provider: Provider, place: Any
) -> None:
    provider.document_lies = {"end_session_endpoint": place}
    log_in(client)
    led = client.post("/logout", headers=OWN)
    assert (303, 401) == (led.status_code, who(client))
    assert "may still know you" in client.get(led.headers["Location"]).text


def test_a_provider_that_is_away_keeps_nobody_in(
    client: FlaskClient, make_client: Callable[..., FlaskClient], settings: dict[str, str], provider: Provider
) -> None:
    log_in(client)
    cookie = client.get_cookie("celeriac")
    assert cookie is not None
    later = make_client(**settings)  # was started anew, and has not asked the provider yet
    later.set_cookie("celeriac", cookie.value)
    provider.is_away = True
    assert "/login?notice=logged-out-here" == later.post("/logout", headers=OWN).headers["Location"]
    assert [401, 401] == [who(later), who(client)]


@pytest.mark.parametrize("place", ["//evil.example", "/\\evil.example", "https://evil.example"])
def test_the_way_back_leads_to_no_other_site(client: FlaskClient, place: str) -> None:
    assert "/" == log_in(client, place).headers["Location"]


def test_a_provider_that_is_away_is_told_and_the_api_serves_keys(
    make_client: Callable[..., FlaskClient], settings: dict[str, str], provider: Provider
) -> None:
    provider.is_away = True
    client = make_client(**settings, celeriac_api_key="root")
    refused = client.get("/login/start")
    assert (502, True) == (refused.status_code, "cannot be asked who you are" in refused.text)
    assert 200 == client.get("/api/v1/runs", headers={"Authorization": "Bearer root"}).status_code
    provider.is_away = False
    assert 303 == log_in(client).status_code


@pytest.mark.parametrize("told", [["HS256", "none"], ["none"], "HS256"])
def test_a_provider_that_signs_by_nothing_that_is_believed_is_not_asked(
    client: FlaskClient, provider: Provider, told: Any
) -> None:
    provider.document_lies = {"id_token_signing_alg_values_supported": told}
    assert 502 == client.get("/login/start").status_code


def test_what_a_stranger_sends_back_is_one_line_of_the_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    leave(client)
    client.get("/login/callback?error=no&error_description=a%0AERROR%20forged")
    assert "a\\nERROR forged" in caplog.text
    assert "a\nERROR forged" not in caplog.text


def test_a_document_of_another_issuer_is_not_believed(client: FlaskClient, provider: Provider) -> None:
    provider.document_lies = {"issuer": "https://evil.example"}
    assert 502 == client.get("/login/start").status_code
    provider.document_lies = {}
    assert 303 == log_in(client).status_code


def test_a_role_that_is_taken_away_ends_the_session(
    client: FlaskClient, make_client: Callable[..., FlaskClient], settings: dict[str, str]
) -> None:
    log_in(client)
    cookie = client.get_cookie("celeriac")
    assert cookie is not None
    later = make_client(**{**settings, "celeriac_roles": "bea@example.org:admin"})
    later.set_cookie("celeriac", cookie.value)
    assert 401 == who(later)


def test_the_audit_has_who_came_in_and_who_did_not(client: FlaskClient, provider: Provider) -> None:
    provider.lies = {"nonce": "x"}
    log_in(client)
    provider.lies, provider.claims["email"] = {}, "eve@evil.example"
    log_in(client)
    provider.claims["email"] = "ada@example.org"
    log_in(client)
    entries = client.get("/api/v1/audit").get_json()["audit"][::-1]
    assert [
        ("somebody", "nobody", "GET /login/callback", 401),
        ("eve@evil.example", "nobody", "GET /login/callback", 403),
        ("ada@example.org", "person:ada@example.org", "GET /login/callback", 303),
    ] == [(each["actor"], each["principal"], f"{each['method']} {each['path']}", each["status"]) for each in entries]


def test_nothing_that_is_secret_is_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "celeriac")
    back = leave(client)
    come_back(client, back)
    come_back(client, back)
    code = parse_qs(urlsplit(back).query)["code"][0]
    for secret in (code, CLIENT_SECRET, SECRET):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"celeriac_oidc_issuer": "http://accounts.example.org"}, "begins with https://"),
        ({"celeriac_oidc_issuer": ""}, "celeriac_oidc_issuer is not set"),
        ({"celeriac_oidc_client_id": ""}, "celeriac_oidc_client_id is not set"),
        ({"celeriac_oidc_client_secret": ""}, "celeriac_oidc_client_secret is not set"),
        ({"celeriac_oidc_scope": "email"}, "lacks openid"),
        ({"celeriac_secret_key": ""}, "celeriac_secret_key is not set"),
        ({"celeriac_roles": ""}, "celeriac_roles is not set"),
        ({"celeriac_roles": "ada@example.org"}, "names nobody"),
        ({"celeriac_roles": "ada@example.org:boss"}, "'boss' is no role"),
        ({"celeriac_roles": "example.org:viewer"}, "names nobody"),
        ({"celeriac_roles": "@:viewer"}, "names nobody"),
        ({"celeriac_roles": "group::viewer"}, "names nobody"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_told_at_the_start(
    make_durable: Callable[..., Any], settings: dict[str, str], change: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        create_app(make_durable(**settings | change))
