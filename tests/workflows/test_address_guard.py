"""What a webhook is not sent to: row 15 of every list of what goes wrong with the web."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from celeriac.workflows.errors import AddressRefused, UsageError
from celeriac.workflows.outbound.address_guard import Guard, Place, is_public
from celeriac.workflows.settings import Settings

PUBLIC = [
    "93.184.215.14", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "198.17.255.255",
    "198.20.0.0", "2606:4700::1111", "2a00:1450:4001::8a", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::",
]  # fmt: skip
NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.127.255.255", "198.18.0.1", "198.19.255.255", "192.0.0.192", "192.0.2.1",
    "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:db8::1", "3fff::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "100::1", "5f00::1",
]  # fmt: skip


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Each look at DNS gives the next answer, several by commas; who was asked for."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = (left.pop(0) if len(left) > 1 else left[0]).split(",")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def guard(allow: str = "", http: bool = False) -> Guard:
    return Guard.of(Settings(outbound_allow=allow, outbound_http=http))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_only_we_can_reach_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_that_resolves_to_such_an_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolving(monkeypatch, address)
    place = guard().place("https://hooks.example/x")
    with pytest.raises(AddressRefused, match="no public address"):
        guard().addresses(place)


def test_one_such_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "93.184.215.14,10.0.0.1")
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1 is no public address"):
        guard().addresses(guard().place("https://hooks.example/x"))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254", "100.64.0.1", "198.18.0.1",
     "0.0.0.0", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.1", "0", "localhost", "localhost.",
     "LOCALHOST", "x.localhost", "[fd00:ec2::254]", "[fe80::1]"],
)  # fmt: skip
def test_an_address_in_the_url_itself_is_refused_before_anyone_is_asked(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    asked = resolving(monkeypatch, "93.184.215.14")
    with pytest.raises(AddressRefused, match="CELERIAC_OUTBOUND_ALLOW"):
        guard().place(f"https://{host}/hook")
    assert [] == asked


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "a URL of 1 to"),
        ("hooks.example", "a URL is expected"),
        ("ftp://hooks.example/", "a URL is expected"),
        ("file:///etc/passwd", "a URL is expected"),
        ("gopher://hooks.example/", "a URL is expected"),
        ("https:///x", "a URL is expected"),
        ("https://user:password@hooks.example/", "user and password"),
        ("https://hooks.example#@evil.example/", "a fragment"),
        ("https://hooks.example\\@evil.example/", "backslashes"),
        ("https://hooks.example/a b", "without spaces"),
        ("https://hooks.example/\r\nX: y", "without spaces"),
        ("https://hooks.exämple/", "ASCII"),
        ("https://①②⑦.⓪.⓪.①/", "ASCII"),
        ("https://hooks.example:0/", "port 0"),
        ("https://hooks.example:99999/", "this is no URL"),
        ("https://[::1/", "this is no URL"),
        ("https://hooks..example/", "no host name"),
        ("https://-hooks.example/", "no host name"),
        ("https://hooks.example%2eevil/", "no host name"),
        ("https://hooks.example/" + "x" * 2000, "a URL of 1 to"),
        ("http://hooks.example/", "only https"),
        (None, "a URL of 1 to"),
    ],
)
def test_what_is_no_url_to_send_to_is_refused_with_the_reason(url: Any, told: str) -> None:
    with pytest.raises(AddressRefused, match=told):
        guard().place(url)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://Hooks.Example", "hooks.example", "/"),
        ("https://hooks.example.:8443/a?b=c&d", "hooks.example:8443", "/a?b=c&d"),
        ("https://[2606:4700::1111]:443/x", "[2606:4700::1111]", "/x"),
    ],
)
def test_a_place_is_told_as_the_host_header_has_it(url: str, authority: str, path: str) -> None:
    place = guard().place(url)
    assert (authority, path) == (place.authority, place.path)


def test_the_name_is_resolved_once_so_that_it_cannot_be_rebound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, "93.184.215.14", "127.0.0.1")
    found = guard().addresses(guard().place("https://rebind.example/"))
    assert [ip_address("93.184.215.14")] == found
    assert ["rebind.example"] == asked


@pytest.mark.parametrize(
    ("allow", "address", "is_allowed"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("10.1.0.0/16", "::ffff:10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "fd00::1", True),
        ("hooks.internal, 10.9.0.0/16", "192.168.0.1", True),
        ("internal", "192.168.0.1", False),
    ],
)
def test_what_the_setting_names_is_exempt_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, allow: str, address: str, is_allowed: bool
) -> None:
    resolving(monkeypatch, address)
    chosen = guard(allow)
    if is_allowed:
        assert [ip_address(address)] == chosen.addresses(chosen.place("http://hooks.internal./x"))
        return
    with pytest.raises(AddressRefused):
        chosen.addresses(chosen.place("https://hooks.internal/x"))


def test_plain_http_goes_where_the_settings_say_and_never_to_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "93.184.215.14")

    def plain(chosen: Guard) -> list[Any]:
        return chosen.addresses(chosen.place("http://hooks.example/"))

    assert plain(guard(http=True))
    with pytest.raises(AddressRefused, match="only https"):
        plain(guard("10.0.0.0/8"))
    resolving(monkeypatch, "10.0.0.1")
    assert plain(guard("10.0.0.0/8"))
    with pytest.raises(AddressRefused, match="no public address"):
        plain(guard(http=True))


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "https://hooks.internal", "a b", "hooks.internal/24", "*.internal"])
def test_an_entry_of_the_setting_that_is_neither_host_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(UsageError, match="neither a host"):
        guard(entry)


def test_a_refusal_does_not_repeat_what_the_url_may_hold() -> None:
    with pytest.raises(AddressRefused) as refused:
        guard().place("https://127.0.0.1/hook?key=canary-of-a-url")
    assert "canary-of-a-url" not in str(refused.value)
    assert Place("127.0.0.1", 443, "/", True).authority in str(refused.value)
