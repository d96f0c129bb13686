"""Server-sent events for the Python client: read as they come, and gone on with after the last one when a connection
breaks or the server ends it, which it does every few minutes."""

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .transport import AGAIN, ApiError, Transport, Unreachable

END = "end"


class ServerEvent(NamedTuple):
    """One event of a stream. `id` is what a stream goes on after."""

    id: str
    event: str
    data: Any


def follow(
    transport: Transport, path: str, query: Mapping[str, Any], last_id: str | None = None
) -> Iterator[ServerEvent]:
    """The events of a stream, up to its `end`, which is the last one.

    Raises ApiError where it is refused, Unreachable where it breaks off more often than `Retries` allows without an
    event between.
    """
    broken = 0
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with transport.stream(path, query, headers) as lines:
                for each in events(lines):
                    broken, last_id = 0, each.id or last_id
                    yield each
                    if each.event == END:
                        return
        except (OSError, http.client.HTTPException, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in AGAIN:
                raise
            broken += 1
            if broken >= transport.retries.attempts:
                raise Unreachable(f"GET {path}: the stream broke off {broken} times: {error}") from error
        transport.pause(broken or 1)


def events(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events that lines of a stream are. Comments, and an event that is cut off, are none."""
    members: dict[str, list[str]] = {}
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            members.setdefault(name, []).append(value.removeprefix(" "))
        else:
            if "data" in members:
                event, id = members.get("event", ["message"])[-1], members.get("id", [""])[-1]
                yield ServerEvent(id, event, json.loads("\n".join(members["data"])))
            members = {}
