"""The other side of the shop: a small CRM over HTTP that answers 503 now and then, and keeps a journal of its calls."""

import json
import random
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """One line of the journal. `at` is in seconds since the epoch, taken when the answer was ready."""

    at: float
    method: str
    path: str
    status: int


class Crm:
    """Serves the customers of a JSON file on 127.0.0.1. `failures` is the share of calls that get a 503."""

    def __init__(self, customers: Path, failures: float = 0.15, latency_seconds: float = 0.12):
        self.customers = {customer["id"]: customer for customer in json.loads(customers.read_text())}
        self.journal: list[Call] = []
        self._failures, self._latency_seconds = failures, latency_seconds
        self._dice = random.Random(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answered(self, method: str, path: str) -> int:
        """How often this call was answered with a result."""
        return sum((call.method, call.path, call.status) == (method, path, 200) for call in self.journal)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        time.sleep(self._latency_seconds)
        if self._dice.random() < self._failures:
            status, document = 503, {"error": "try again"}
        elif method == "POST":
            status, document = 200, {"done": True}
            path = f"{path} {json.loads(body)['id']}"
        else:
            customer = self.customers.get(path.rpartition("/")[2])
            status, document = (200, customer) if customer else (404, {"error": "no such customer"})
        self.journal.append(Call(time.time(), method, path, status))
        return status, document

    def _handler(crm) -> type[BaseHTTPRequestHandler]:  # `self` is the handler below
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._respond("GET", b"")

            def do_POST(self) -> None:
                self._respond("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def _respond(self, method: str, body: bytes) -> None:
                status, document = crm._answer(method, self.path, body)
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                with suppress(BrokenPipeError):  # the worker that asked was killed meanwhile
                    self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                return  # the journal says it all

        return Handler
