"""One POST to a stranger's server: to a checked address, within a time, without redirects, and little of its answer is
read. Proxies that the environment names are not used, they would resolve the name again."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache

from ..errors import NotDelivered
from .address_guard import Address, Guard, Place

CONNECT_SECONDS = 5.0  # for each address
WHOLE_SECONDS = 15.0  # from the first connect to the last byte that is read
TRIED = 3  # addresses of one name
READ_BYTES = 4096  # of the answer
SHOWN_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. `retry_after_seconds` is what it asks for, where it does."""

    status: int
    text: str
    address: str
    duration_seconds: float
    retry_after_seconds: float | None


def post(url: str, headers: Mapping[str, str], body: bytes, guard: Guard) -> Answer:
    """Sends it. Raises AddressRefused, and NotDelivered where there is no answer."""
    place = guard.place(url)
    began = time.monotonic()
    try:
        addresses = guard.addresses(place)
    except (OSError, UnicodeError) as error:
        raise NotDelivered(f"{place.host} has no address: {_words(error)}") from None
    connection = Connection(place, addresses[:TRIED])
    watch = threading.Timer(WHOLE_SECONDS, connection.give_up)
    watch.daemon = True
    watch.start()
    try:
        given = {"Host": place.authority, "Accept-Encoding": "identity", "Connection": "close", **headers}
        connection.request("POST", place.path, body, given)
        answer = connection.getresponse()
        text = _read(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        after = time.monotonic() - began
        told = f"no answer within {WHOLE_SECONDS:g} s" if connection.is_over else f"{_words(error)} after {after:.2f} s"
        raise NotDelivered(f"{place.host}: {told}") from None
    finally:
        watch.cancel()
        connection.close()
    asked_for = _retry_after(answer.headers.get("Retry-After"))
    return Answer(answer.status, text, str(connection.address), time.monotonic() - began, asked_for)


class Connection(http.client.HTTPConnection):
    """To one of these addresses, whatever the name of the place resolves to by now."""

    def __init__(self, place: Place, addresses: Sequence[Address]):
        super().__init__(place.host, place.port, timeout=WHOLE_SECONDS)
        self.address = addresses[0]
        self.is_over = False  # it took too long
        self._place, self._addresses = place, addresses

    def connect(self) -> None:
        self.sock = self._first_that_answers()
        if self.is_over:  # while there was nothing that `give_up` could end
            raise TimeoutError
        if self._place.is_tls:
            wrapped = _trust().wrap_socket(self.sock, server_hostname=self._place.host, do_handshake_on_connect=False)
            self.sock = wrapped  # where `give_up` finds it
            wrapped.settimeout(WHOLE_SECONDS)
            wrapped.do_handshake()

    def give_up(self) -> None:
        """Ends whatever waits for this server, in another thread: timeouts of a socket begin anew with each byte."""
        self.is_over = True
        if self.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def _first_that_answers(self) -> socket.socket:
        for address in self._addresses[:-1]:
            with suppress(OSError):
                return self._opened(address)
        return self._opened(self._addresses[-1])

    def _opened(self, address: Address) -> socket.socket:
        self.address = address
        opened = socket.create_connection((str(address), self._place.port), CONNECT_SECONDS)
        opened.settimeout(WHOLE_SECONDS)
        return opened


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """The certificates that this host trusts (SSL_CERT_FILE says which)."""
    return ssl.create_default_context()


def _read(answer: http.client.HTTPResponse) -> str:
    """The first of what it says, to be shown. The status has come: what cuts the rest off is no failure."""
    raw = b""
    with suppress(OSError, http.client.HTTPException, ValueError):
        while len(raw) < READ_BYTES and (part := answer.read1(READ_BYTES - len(raw))):
            raw += part
    text = raw.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)[
        :SHOWN_CHARACTERS
    ]


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which has seconds or a date."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return (str(error) if isinstance(error, OSError) else "") or type(error).__name__
