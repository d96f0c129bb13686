"""One HTTP call of the Python client, and when it is made again. The standard library is all it needs.

A call is made again after a 429 or 503, and after a connection that broke, or was never made. That does nothing twice:
a GET changes nothing, a PUT, PATCH or DELETE says what is to be, and a POST carries an Idempotency-Key, which is made
once for each call of a method.
"""

import http.client
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Full, LifoQueue
from select import select
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from ..shapes.problems import Fault

AGAIN = (429, 503)
IDLE = 10  # connections that are kept for the next call
USER_AGENT = "celeriac-python"


class ApiError(Exception):
    """The API refused. `type` is the word that tells which refusal it is ("unknown-run"), `errors` the places of the
    body that are wrong, `request_id` what the server's log has it under, `members` what else the answer says."""

    def __init__(self, status: int, document: Mapping[str, Any]):
        self.status = status
        self.type = str(document.get("type", "about:blank")).rpartition(":")[2]
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.errors: list[Fault] = list(document.get("errors", ()))
        self.request_id: str | None = document.get("request_id")
        known = ("type", "title", "status", "detail", "errors", "request_id")
        self.members = {name: value for name, value in document.items() if name not in known}
        super().__init__(f"{status} {self.title}: {self.detail}" + (f" ({self.request_id})" if self.request_id else ""))


class Unreachable(Exception):
    """The API could not be reached, or hung up. Whether it did what it was asked is not known, unless it is said."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is made again, and how long it waits before: `min_delay * 2**k` seconds, at most `max_delay`,
    each times a number from 0.5 to 1 by chance; or as long as `Retry-After` says, but no longer than `max_delay`."""

    attempts: int = 5  # with the first
    min_delay: float = 0.2
    max_delay: float = 10.0

    def delay(self, made: int, retry_after: float | None = None) -> float:
        """Seconds to wait after so many attempts."""
        grown: float = min(self.max_delay, self.min_delay * 2.0 ** (made - 1))
        return max(min(retry_after or 0.0, self.max_delay), grown * random.uniform(0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


class Transport:
    """Calls to one server. Threads may share it."""

    def __init__(self, url: str, api_key: str | None, timeout: float, retries: Retries):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of an API: write https://host, or http://localhost:8484")
        self._parts, self._base, self._timeout, self.retries = parts, parts.path.rstrip("/"), timeout, retries
        self._idle: LifoQueue[http.client.HTTPConnection] = LifoQueue(IDLE)
        self._headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._sleep: Callable[[float], None] = time.sleep

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> Answer:
        """The answer, of whatever success. `key`: the Idempotency-Key of a POST, in place of a new one. Raises
        ApiError, Unreachable."""
        target, sent, own = self._target(path, query), None, dict(self._headers)
        if method == "POST":
            own["Idempotency-Key"] = key or uuid4().hex
        if body is not None:
            sent = json.dumps(body, ensure_ascii=False).encode()
            own["Content-Type"] = "application/json"
        made = 1
        while True:
            is_last = made >= self.retries.attempts
            try:
                answer = self._once(method, target, sent, own)
            except (OSError, http.client.HTTPException) as error:
                if is_last:
                    raise Unreachable(
                        f"{method} {path}: {self._parts.netloc}: {error or type(error).__name__}"
                    ) from error
                retry_after = None
            else:
                if is_last or answer.status not in AGAIN:
                    return _checked(answer)
                retry_after = _seconds(answer.headers.get("retry-after"))
            self._sleep(self.retries.delay(made, retry_after))
            made += 1

    @contextmanager
    def stream(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """The lines of an answer that has no end. Raises ApiError; OSError or HTTPException where it breaks off."""
        connection = self._connect()
        try:
            connection.request("GET", self._target(path, query), headers={**self._headers, **headers})
            response = connection.getresponse()
            if response.status >= 300:
                _checked(Answer(response.status, _lower(response), response.read()))
            yield iter(response.readline, b"")
        finally:
            connection.close()

    def pause(self, made: int) -> None:
        """Waits as long as before another attempt."""
        self._sleep(self.retries.delay(made))

    def close(self) -> None:
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    def _once(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        connection = self._kept() or self._connect()
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            answer = Answer(response.status, _lower(response), response.read())
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        return answer

    def _kept(self) -> http.client.HTTPConnection | None:
        """A connection of an earlier call that the server has not closed meanwhile."""
        with suppress(Empty):
            while True:
                connection = self._idle.get_nowait()
                if connection.sock is not None and not select([connection.sock], [], [], 0)[0]:
                    return connection
                connection.close()
        return None

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        try:
            self._idle.put_nowait(connection)
        except Full:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=self._timeout)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        return connection

    def _target(self, path: str, query: Mapping[str, Any] | None) -> str:
        pairs = [(name, _text(value)) for name, value in (query or {}).items() if value is not None]
        return self._base + path + (f"?{urlencode(pairs)}" if pairs else "")


def _checked(answer: Answer) -> Answer:
    if answer.status < 300:
        return answer
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):  # a proxy's own page
        document = {
            "title": http.client.responses.get(answer.status, ""),
            "detail": answer.body[:200].decode("latin-1"),
        }
    raise ApiError(answer.status, document)


def _lower(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _text(value: Any) -> str:
    """A value as a query string has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list | tuple) else str(value)
