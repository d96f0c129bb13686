"""Where a webhook may be sent: to public addresses, by https. Whoever can have us call an address of their choice must
not reach what only we can reach (SSRF): this host, its network, the metadata of a cloud.

A name is resolved once, every address that it has is checked, and the connection goes to a checked address, not to the
name: what the name resolves to a moment later is of no use to anyone. What the setting `outbound_allow` names, hosts or
networks, is exempt.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from ..errors import AddressRefused, UsageError
from ..settings import Settings

URL_LIMIT = 2000  # characters
HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
PLAIN = re.compile(rf"[\x21-\x5b\x5d-\x7e]{{1,{URL_LIMIT}}}")  # no space, no backslash: parsers read these differently

# Of the registries of special addresses (RFC 6890, 5735, 6598, 2544, 3068), with multicast and what is reserved.
NOT_PUBLIC = tuple(
    IPv4Network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
GLOBAL_UNICAST = IPv6Network("2000::/3")  # all other IPv6 is local, mapped, multicast or reserved
NOT_PUBLIC_6 = tuple(IPv6Network(each) for each in ("2001::/23", "2001:db8::/32", "3fff::/20"))
SIX_TO_FOUR = IPv6Network("2002::/16")
NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL names."""

    host: str
    port: int
    path: str  # with its query
    is_tls: bool

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be called."""

    hosts: frozenset[str] = frozenset()  # that are exempt
    networks: tuple[IPv4Network | IPv6Network, ...] = ()  # whose addresses are
    allows_http: bool = False  # also without TLS, to anyone

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises UsageError for an entry of `outbound_allow` that is neither a host nor a network."""
        hosts: set[str] = set()
        networks = []
        for entry in filter(None, (each.strip().lower().rstrip(".") for each in settings.outbound_allow.split(","))):
            try:
                networks.append(ip_network(entry))
            except ValueError:
                if not HOST.fullmatch(entry) or "/" in entry:
                    raise UsageError(
                        f"celeriac_outbound_allow: {entry!r} is neither a host (hooks.internal) nor a network "
                        "(10.1.0.0/16)"
                    ) from None
                hosts.add(entry)
        return cls(frozenset(hosts), tuple(networks), settings.outbound_http)

    def place(self, url: str) -> Place:
        """What a URL names, checked as far as that goes without asking what its name resolves to.

        Raises AddressRefused, which says what is wrong and does not repeat the URL.
        """
        place = _parsed(url)
        literal = _literal(place.host)
        if literal is not None:
            self._check(place, literal)
        is_local = place.host == "localhost" or place.host.endswith(".localhost")
        if is_local and place.host not in self.hosts and not self._allows(ip_address("127.0.0.1")):
            raise _refused(place.host, "it is this host")
        if not place.is_tls and literal is None and not self._may_be_plain(place):
            raise AddressRefused(f"{place.host}: only https is sent to: {_HOW_PLAIN}")
        return place

    def addresses(self, place: Place) -> list[Address]:
        """The addresses of its name, all of them checked. Raises AddressRefused, and OSError where it has none."""
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        addresses = list(dict.fromkeys(ip_address(str(each[4][0])) for each in found))
        for address in addresses:
            self._check(place, address)
        return addresses

    def _check(self, place: Place, address: Address) -> None:
        is_allowed = place.host in self.hosts or self._allows(address)
        if not is_allowed and not is_public(address):
            raise _refused(place.host, f"{address} is no public address")
        if not place.is_tls and not self.allows_http and not is_allowed:
            raise AddressRefused(f"{place.host}: only https is sent to: {_HOW_PLAIN}")

    def _allows(self, address: Address) -> bool:
        plain = _embedded(address) or address
        return any(each.version == network.version and each in network
                   for each in (address, plain) for network in self.networks)  # fmt: skip

    def _may_be_plain(self, place: Place) -> bool:
        return self.allows_http or place.host in self.hosts or bool(self.networks)  # the last: once it is resolved


def is_public(address: Address) -> bool:
    """Whether anyone on the internet may have it. IPv6 that carries an IPv4 address is what that one is."""
    if (embedded := _embedded(address)) is not None:
        return is_public(embedded)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC)
    return address in GLOBAL_UNICAST and not any(address in network for network in NOT_PUBLIC_6)


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address behind one of IPv6: mapped, 6to4, or by NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or (address.sixtofour if address in SIX_TO_FOUR else None)


def _parsed(url: str) -> Place:
    if not isinstance(url, str) or not PLAIN.fullmatch(url):
        raise AddressRefused(f"a URL of 1 to {URL_LIMIT} ASCII characters without spaces and backslashes is expected")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise AddressRefused(f"this is no URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise AddressRefused("a URL is expected, as https://example.com/hook")
    if "@" in parts.netloc:
        raise AddressRefused("user and password do not belong into a URL: messages are signed instead")
    if parts.fragment:
        raise AddressRefused("a fragment (#...) is never sent: leave it out")
    if _literal(host) is None and not HOST.fullmatch(host):
        raise AddressRefused(f"{host[:100]!r} is no host name")
    if port == 0:
        raise AddressRefused("port 0 is none")
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host, port or (443 if is_tls else 80), path, is_tls)


def _literal(host: str) -> Address | None:
    """The address that a host is itself, also in the forms that C libraries take for one: 2130706433, 0x7f.1."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fx.]+", host, re.IGNORECASE) else None
    except OSError:
        return None


_HOW_PLAIN = "CELERIAC_OUTBOUND_HTTP=1 allows http to public addresses, CELERIAC_OUTBOUND_ALLOW to what it names"


def _refused(host: str, why: str) -> AddressRefused:
    return AddressRefused(
        f"{host}: {why}, and nothing is sent there. Where that is wanted name the host, or its network, "
        "in CELERIAC_OUTBOUND_ALLOW"
    )
