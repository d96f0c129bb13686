"""How people come in, by the setting `login`; programs have keys, in each of them.

none    whoever asks on this machine, without a word: the default where no root key is set
key     who has a key, which a browser asks for as a password: the default where one is set
basic   the users of the setting `users`, with passwords
oidc    who a provider of OpenID Connect says they are
proxy   who a proxy before us says they are, in headers
host    who the Flask application says they are that this one is a part of: see `../blueprint.py`
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from ...workflows import Celeriac
from ...workflows.errors import CeleriacError, UsageError
from ...workflows.settings import Settings
from ..exchange.body import nearest
from . import passwords, proxies, session
from .passwords import User
from .people import Identity, Roles, person
from .principal import Principal

if TYPE_CHECKING:
    from .oidc import Provider

NONE, KEY, BASIC, OIDC, PROXY, HOST = "none", "key", "basic", "oidc", "proxy", "host"
MODES = (NONE, KEY, BASIC, OIDC, PROXY)
EXTENSION = "celeriac-login"
HOSTS_PERSON = "celeriac.person"  # in the environ: name and role, or None, as the host's own login says


class LoginRefused(CeleriacError):
    """Somebody did not get in. The message says why to them; what they need not know is in the log."""


def nobody() -> Principal | None:
    return None


@dataclass(frozen=True, slots=True)
class Login:
    """One way to come in. `person` says whose the request is that brings no key; None: it does not say."""

    mode: str
    person: Callable[[], Principal | None] = nobody
    users: dict[str, User] = field(default_factory=dict)
    roles: Roles = field(default_factory=lambda: Roles(()))
    provider: "Provider | None" = None
    url: str | None = None  # of the host's own page

    @property
    def has_session(self) -> bool:
        """Whether there is a page to log in, and to log out."""
        return self.mode in (BASIC, OIDC)

    @property
    def told(self) -> str:
        """How people come in, in words."""
        return {
            NONE: "nobody has to log in: only this machine is served",
            KEY: "who has a key",
            BASIC: "users with passwords",
            OIDC: f"OpenID Connect, by {self.provider.host if self.provider else ''}",
            PROXY: "the proxy in front says who",
            HOST: "the application around this one says who",
        }[self.mode]


def mode_of(settings: Settings) -> str:
    """The mode of the settings. Raises UsageError for what is none, or contradicts the root key."""
    mode = settings.login or (KEY if settings.api_key else NONE)
    if mode not in MODES:
        raise UsageError(f"celeriac_login={mode!r}{nearest(mode, list(MODES))}: choose one of {', '.join(MODES)}")
    if mode == NONE and settings.api_key:
        raise UsageError(
            "celeriac_login=none lets in whoever asks on this machine, and celeriac_api_key asks for a key: "
            "take one of the two away"
        )
    if mode == KEY:
        settings.need("api_key")
    return mode


def install(app: Flask, durable: Celeriac, host_url: str | None, is_hosted: bool) -> None:
    """Gives `app` the login of its settings, or that of its host. Raises UsageError that says what is missing."""
    app.extensions[EXTENSION] = Login(HOST, _of_host, url=host_url) if is_hosted else _of_settings(app, durable)


def _of_settings(app: Flask, durable: Celeriac) -> Login:
    settings = durable.settings
    mode = mode_of(settings)
    if mode == BASIC:
        session.install(app, settings)
        users = passwords.parsed(settings.need("users"))
        return Login(mode, lambda: _of_user(durable, users), users=users)
    if mode == OIDC:
        session.install(app, settings)
        roles = Roles.parse(settings.need("roles"))
        provider = _provider(app, settings, roles)
        return Login(mode, lambda: _of_claims(durable, roles), roles=roles, provider=provider)
    if mode == PROXY:
        settings.need("proxy_addresses")
        roles, headers = Roles.parse(settings.need("roles")), _headers(settings)
        return Login(mode, lambda: _of_proxy(roles, headers), roles=roles)
    return Login(mode)


def _of_user(durable: Celeriac, users: dict[str, User]) -> Principal | None:
    claims = session.claims(durable.database, BASIC) or {}
    user = users.get(claims.get("name", ""))
    return person(user.name, user.role) if user and user.mark == claims.get("mark") else None


def _of_claims(durable: Celeriac, roles: Roles) -> Principal | None:
    claims = session.claims(durable.database, OIDC)
    return roles.person(Identity(claims["user"], claims["email"], claims["groups"])) if claims else None


def _of_proxy(roles: Roles, headers: tuple[str, str, str]) -> Principal | None:
    identity = proxies.named(headers)
    return roles.person(identity) if identity else None


def _of_host() -> Principal | None:
    found: tuple[str, str] | None = request.environ.get(HOSTS_PERSON)
    return person(*found) if found else None


def _provider(app: Flask, settings: Settings, roles: Roles) -> "Provider":
    try:
        from .oidc import Provider
    except ImportError as error:
        raise UsageError(f"celeriac_login=oidc needs `pip install 'celeriac[oidc]'`: {error}") from None
    return Provider(app, settings, roles)


def _headers(settings: Settings) -> tuple[str, str, str]:
    names: Any = tuple(name.strip() for name in settings.proxy_headers.split(","))
    if len(names) != 3 or not all(names):
        raise UsageError("celeriac_proxy_headers: three names are expected, for the user, the e-mail and the groups")
    return names  # type: ignore[no-any-return]
