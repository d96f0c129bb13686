"""What stands between us and the browser: proxies, whose headers are believed if they come from where proxies are.

Without the setting `proxy_addresses` nobody's X-Forwarded-* headers mean anything. With it they are believed where the
connection comes from one of these networks, and are taken away from everybody else. Of the addresses in X-Forwarded-For
only the one that stands `proxy_hops` from the right is believed: what is left of it the client may have written itself.
Scheme, host and prefix are what the last proxy says.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from ...workflows.errors import UsageError
from ...workflows.settings import Settings
from .people import Identity

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BELIEVED = "celeriac.is_proxy"  # in the environ: the connection comes from a proxy that is believed
FORWARDED = re.compile(r"HTTP_(X_)?FORWARDED(_\w+)?")
PREFIX = re.compile(r"(/[\w.~-]+)+/?", re.ASCII)
PREFIX_HEADER = "HTTP_X_FORWARDED_PREFIX"


def install(app: Flask, settings: Settings) -> None:
    """Believes proxies, if there are any: around all that looks at addresses. Raises UsageError for a network that is
    none."""
    networks = networks_of(settings)
    if networks:
        app.wsgi_app = Believing(app.wsgi_app, networks, settings.proxy_hops)  # type: ignore[method-assign]


def networks_of(settings: Settings) -> tuple[IPv4Network | IPv6Network, ...]:
    """Raises UsageError for what is no network, or a number of hops that cannot be."""
    if settings.proxy_hops < 1:
        raise UsageError(f"celeriac_proxy_hops={settings.proxy_hops}: at least the proxy before us is one")
    found = []
    for entry in filter(None, (each.strip() for each in settings.proxy_addresses.split(","))):
        try:
            found.append(ip_network(entry))
        except ValueError:
            raise UsageError(f"celeriac_proxy_addresses: {entry!r} is no network, as 10.1.0.0/16 or 10.1.2.3") from None
    return tuple(found)


class Believing:
    """A WSGI application to which requests look as the proxies before it saw them."""

    def __init__(self, app: "WSGIApplication", networks: Iterable[IPv4Network | IPv6Network], hops: int):
        self._app, self._networks = app, tuple(networks)
        self._through = ProxyFix(app, x_for=hops, x_proto=1, x_host=1, x_prefix=1)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._is_proxy(environ.get("REMOTE_ADDR", "")):
            environ[BELIEVED] = True
            if not PREFIX.fullmatch(environ.get(PREFIX_HEADER, "").rpartition(",")[2].strip()):
                environ.pop(PREFIX_HEADER, None)
            return self._through(environ, start_response)
        for name in [name for name in environ if FORWARDED.fullmatch(name)]:
            del environ[name]
        return self._app(environ, start_response)

    def _is_proxy(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain.version == network.version and plain in network for network in self._networks)


def came_through_one() -> bool:
    """Whether a request says that it was passed on, whoever did it."""
    return BELIEVED in request.environ or any(FORWARDED.fullmatch(name) for name in request.environ)


def named(headers: tuple[str, str, str]) -> Identity | None:
    """Of whom the proxy says that the request is. None: it is no proxy that is believed, or it names nobody."""
    if BELIEVED not in request.environ:
        return None
    user, email = (request.headers.get(name, "").strip() for name in headers[:2])
    # Two values in one header: the client sent one, and the proxy put its own behind it instead of in its place.
    if "," in user or "," in email or not (user or email):
        return None
    groups = [each.strip() for each in request.headers.get(headers[2], "").split(",")]
    return Identity(user or email, email or None, [each for each in groups if each])
