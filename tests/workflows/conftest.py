"""Workflows that are executed in the test's own process, with the real executor and real servers."""

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import pytest
from performer import Performer

from celeriac import Celeriac
from celeriac.state.database import Database
from celeriac.workflows import registry


@pytest.fixture(autouse=True)
def registry_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workflows that a test defines are forgotten after it."""
    monkeypatch.setattr(registry, "_workflows", registry.workflows())


@pytest.fixture
def perform(durable: Celeriac) -> Performer:
    return Performer(durable, durable.database)


class Proxy:
    """A wire to a server that can be cut and mended; `refused` is set when someone met the cut."""

    def __init__(self, host: str, port: int):
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._is_cut = False
        self._forgotten, self._cuts_then = b"", False
        self.refused = threading.Event()
        self.forgot = 0  # answers that were lost on the way
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for pair in self._pairs:
            _close(*pair)
        self._pairs.clear()

    def mend(self) -> None:
        self._is_cut = False

    def mend_once_refused(self) -> None:
        def wait() -> None:
            self.refused.wait(30)
            self.mend()

        threading.Thread(target=wait, daemon=True).start()

    def forget_answer_to(self, words: str, and_cut: bool = False) -> None:
        """The next statement with these words is executed, and its answer is lost together with the connection."""
        self._forgotten, self._cuts_then = words.encode(), and_cut

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                self.refused.set()
                _close(client)
                continue
            server = socket.create_connection(self._target)
            self._pairs.append((client, server))
            lost = threading.Event()
            threading.Thread(target=self._pump, args=(client, server, None, lost), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, lost, None), daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, is_lost: threading.Event | None, lost: threading.Event | None
    ) -> None:
        try:
            while data := source.recv(65536):
                if lost is not None and self._forgotten and self._forgotten in data:
                    self._forgotten = b""
                    lost.set()
                if is_lost is not None and is_lost.is_set():
                    self.forgot += 1
                    self._is_cut = self._cuts_then
                    break
                sink.sendall(data)
        except OSError:
            pass
        _close(source, sink)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@pytest.fixture
def wire(database_url: str) -> Iterator[Proxy]:
    """The wire between `far_perform` and Postgres."""
    parts = urlsplit(database_url)
    proxy = Proxy(parts.hostname or "", parts.port or 5432)
    yield proxy
    proxy.close()


@pytest.fixture
def far_perform(wire: Proxy, database_url: str, make_durable: Callable[..., Celeriac], database: Database) -> Performer:
    """As `perform`, with executions behind `wire`; what the test itself does goes another way."""
    parts = urlsplit(database_url)
    far = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{wire.port}")
    return Performer(make_durable(celeriac_database_url=urlunsplit(far)), database)


@pytest.fixture
def root_logger_of_this_test() -> Iterator[None]:
    """For a test that keeps what runs say, as a worker does."""
    known = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [(each, list(each.handlers), each.level, each.propagate) for each in (logging.root, *known)]
    levels = [(handler, handler.level) for _, handlers, _, _ in before for handler in handlers]
    streams = sys.stdout, sys.stderr
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    for handler, old in levels:
        handler.setLevel(old)
    sys.stdout, sys.stderr = streams
