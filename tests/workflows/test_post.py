"""One POST to a stranger's server, who may be slow, wordy, lying, or somebody else."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any

import pytest
from certificates import certificate
from receiver import Answer, Receiver, says

from celeriac.workflows.errors import NotDelivered
from celeriac.workflows.outbound import post as module
from celeriac.workflows.outbound.address_guard import Guard
from celeriac.workflows.outbound.post import READ_BYTES, SHOWN_CHARACTERS, post

LOCAL = Guard(networks=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def named(monkeypatch: pytest.MonkeyPatch, **addresses: str) -> list[str]:
    """`hooks_example="127.0.0.1"` resolves hooks.example; which names were asked for."""
    asked: list[str] = []
    ask = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *args: Any, **options: Any) -> Any:
        found = addresses.get(str(host).replace(".", "_"))
        if found is None:
            return ask(host, port, *args, **options)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found.split(",")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def raw(*parts: bytes, pause_seconds: float = 0.0) -> Answer:
    """These bytes as they are, and then the end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with suppress(OSError):  # the other side has hung up
            for part in parts:
                handler.wfile.write(part)
                handler.wfile.flush()
                time.sleep(pause_seconds)

    return answer


def at(receiver: Receiver, host: str) -> str:
    return receiver.url.replace("127.0.0.1", host)


def test_the_connection_goes_to_the_address_that_was_checked_and_names_the_host(monkeypatch, receiver):
    asked = named(monkeypatch, hooks_example="127.0.0.1")
    answer = post(at(receiver, "hooks.example"), {"X-A": "b"}, b"{}", LOCAL)
    assert (200, "127.0.0.1", "ok") == (answer.status, answer.address, answer.text)
    (request,) = receiver.received
    assert (f"hooks.example:{receiver.url.split(':')[2].split('/')[0]}", "b", b"{}") == (
        request.headers["host"],
        request.headers["x-a"],
        request.body,
    )
    assert ["hooks.example"] == asked


def test_another_address_of_the_name_is_tried_where_one_does_not_answer(monkeypatch, receiver):
    named(monkeypatch, hooks_example="127.0.0.9,127.0.0.1")  # nobody listens at the first
    assert "127.0.0.1" == post(at(receiver, "hooks.example"), {}, b"{}", LOCAL).address


def test_a_redirect_is_an_answer_and_not_followed(receiver):
    receiver.answers = [says(302, Location=receiver.url)]
    assert 302 == post(receiver.url, {}, b"{}", LOCAL).status
    assert 1 == len(receiver.received)


def test_proxies_of_the_environment_are_not_used(monkeypatch, receiver):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert 200 == post(receiver.url, {}, b"{}", LOCAL).status


def test_little_of_a_long_answer_is_read_and_less_is_shown(receiver):
    written = []

    def wordy(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            for _ in range(2000):
                written.append(handler.wfile.write(b"word " * 4096))

    receiver.answers = [wordy]
    answer = post(receiver.url, {}, b"{}", LOCAL)
    assert (200, SHOWN_CHARACTERS) == (answer.status, len(answer.text))
    assert SHOWN_CHARACTERS < READ_BYTES
    assert len(written) < 2000


def test_what_a_server_says_is_made_text_that_can_be_kept(receiver):
    receiver.answers = [says(500, b"\x00\x1b[31mred\xff\n")]
    assert "\ufffd\ufffd[31mred\ufffd\n" == post(receiver.url, {}, b"{}", LOCAL).text


def test_a_server_that_answers_byte_by_byte_is_given_up_in_time(monkeypatch, receiver):
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.3)
    receiver.answers = [raw(*[b"H"] * 1000, pause_seconds=0.02)]
    began = time.monotonic()
    with pytest.raises(NotDelivered, match=r"no answer within 0\.3 s"):
        post(receiver.url, {}, b"{}", LOCAL)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "endless",
    [raw(b"HTTP/1.1 202 A\r\n", *[b"a: b\r\n"] * 90, pause_seconds=0.02),
     raw(b"HTTP/1.1 202 A\r\nContent-Length: 999\r\n\r\n", *[b"x"] * 100, pause_seconds=0.02)],
    ids=["headers", "text"],
)  # fmt: skip
def test_a_status_counts_also_where_what_follows_it_does_not_end(monkeypatch, receiver, endless):
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.3)
    receiver.answers = [endless]
    began = time.monotonic()
    assert 202 == post(receiver.url, {}, b"{}", LOCAL).status
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "broken",
    [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
     b"HTTP/1.1 200 " + b"x" * 70_000],
    ids=["nothing", "no HTTP", "no status", "too many headers", "a long line"],
)  # fmt: skip
def test_what_is_no_answer_is_not_delivered_and_says_so(receiver, broken):
    receiver.answers = [raw(broken)]
    with pytest.raises(NotDelivered, match=r"127\.0\.0\.1: \S+"):
        post(receiver.url, {}, b"{}", LOCAL)


def test_a_name_without_an_address_and_a_port_without_a_server_are_told(monkeypatch):
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(NotDelivered, match="refused"):
        post("https://127.0.0.1:1/", {}, b"{}", LOCAL)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotDelivered, match=r"gone\.example has no address"):
        post("https://gone.example/", {}, b"{}", LOCAL)


def test_tls_speaks_with_the_name_and_believes_its_certificate_alone(monkeypatch, receiver, tmp_path):
    file = certificate(tmp_path, "hooks.example")
    spoken: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.sni_callback = lambda _, name, __: spoken.append(name)
    receiver.use_tls(context)
    monkeypatch.setattr(module, "_trust", lambda: ssl.create_default_context(cafile=str(file)))
    named(monkeypatch, hooks_example="127.0.0.1", other_example="127.0.0.1")
    assert 200 == post(at(receiver, "hooks.example"), {}, b"{}", LOCAL).status
    assert ["hooks.example"] == spoken
    with pytest.raises(NotDelivered, match=r"certificate is not trusted .*other\.example"):
        post(at(receiver, "other.example"), {}, b"{}", LOCAL)
    monkeypatch.undo()
    with pytest.raises(NotDelivered, match="certificate is not trusted"):
        post(receiver.url, {}, b"{}", LOCAL)
    assert 1 == len(receiver.received)


def test_a_server_that_stops_in_the_middle_of_tls_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.3)
    silent = socket.create_server(("127.0.0.1", 0))
    began = time.monotonic()
    with pytest.raises(NotDelivered, match="no answer within"):
        post(f"https://127.0.0.1:{silent.getsockname()[1]}/", {}, b"{}", LOCAL)
    assert time.monotonic() - began < 1.5
    silent.close()
    watches = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    for each in watches:
        each.join(20)  # it was told to end, and does so in its own time
    assert not any(each.is_alive() for each in watches)
