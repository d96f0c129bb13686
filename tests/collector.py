"""A collector of OpenTelemetry on this machine: an HTTP server that keeps the spans that it is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """`spans` has each span as it was sent, `resources` the attributes of its senders. While `is_away` it refuses."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.is_away = False
        self.refuses = ""  # a request with a span of this name
        self.requests = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests += 1
                is_taken = not receiver.is_away and receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200 if is_taken else 400)  # which is not worth another try at once
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, request: ExportTraceServiceRequest) -> bool:
        scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
        if self.refuses in [span.name for scope in scopes for span in scope.spans]:
            return False
        for resource in request.resource_spans:
            self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
        for scope in scopes:
            self.spans += scope.spans
        return True

    def ids(self) -> list[tuple[str, str]]:
        """Trace and span id of each, in the order in which they came."""
        return [(span.trace_id.hex(), span.span_id.hex()) for span in self.spans]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that is listening."""
    receiver = Receiver()
    receiver.serve()
    yield receiver
    receiver.close()
