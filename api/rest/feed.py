"""Streams of server-sent events: one thread of the process looks for news, for all who watch.

A stream is a question: what is watched, and up to where it was told. The thread puts equal questions to Postgres once,
all questions of one kind in one statement, and gives each viewer the answer; the next question goes on from there. So
two hundred viewers of one run cost what one does, and a viewer that reads slowly is asked for again when it has read.
Each stream holds a thread of the server, which waits for its answer, and no connection to Postgres.
"""

import json
import logging
import select
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Response, g, request

from ...workflows import Celeriac
from ...workflows.errors import StateUnavailable
from ..access.limits import IS_STREAM
from ..exchange.problems import Problem
from .documents import Document

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # between two looks for news, while somebody watches
PING_SECONDS = 15.0  # of silence, after which a stream says that it is there
STREAM_SECONDS = 300.0  # after which a client comes again, and goes on from its last event
RETRY_MS = 2000  # after which it comes again by itself
TRY_AGAIN_SECONDS = 5  # where there is no room
HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)

HEADERS = {
    "Cache-Control": "no-cache, no-transform",  # nobody on the way keeps it, or packs it and waits for more
    "X-Accel-Buffering": "no",  # nginx passes each event on at once
}


class Question(Protocol):
    """What is watched, and up to where: equal questions are asked once. `cursor` is what a client goes on from."""

    def __hash__(self) -> int: ...
    @property
    def cursor(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Events, and the question that goes on after them: None is the end. `is_cut`: there is more already."""

    text: str
    next: Question | None
    is_cut: bool = False


class Source(Protocol):
    """Answers questions of one kind. What has no answer is asked again."""

    def look(self, asked: Collection[Any]) -> dict[Any, Answer]: ...


def event(id: str, name: str, data: Mapping[str, Any]) -> str:
    """One event. JSON in ASCII has no line break, and no half of a surrogate pair that could not be sent."""
    return f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def end(data: Document) -> str:
    """The last event: there will be no more. It has no id, so that a client that comes again is told it again."""
    return f"event: end\ndata: {json.dumps(data)}\n\n"


class Feed:
    """The streams of one process. Its thread begins with the first viewer, and ends with the last one."""

    def __init__(self, durable: Celeriac):
        settings = durable.settings
        self._limit, self._limit_per_client = settings.stream_limit, settings.stream_limit_per_client
        self._viewers: set[Viewer] = set()
        self._lock, self._nudged = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    def open(self, source: Source, question: Question) -> Response:
        """The stream that answers this request. Raises Problem 503: no room."""
        client = f"{g.principal.identity} {g.principal.name}"
        viewer = Viewer(source, question, client, request.environ.get("gunicorn.socket"))
        with self._lock:
            self._check_room(client)
            self._viewers.add(viewer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="celeriac-feed", daemon=True)
                self._thread.start()
        self._nudged.set()
        request.environ[IS_STREAM] = True
        return Response(_Stream(self, viewer), mimetype="text/event-stream", headers=HEADERS)

    def close(self, viewer: "Viewer") -> None:
        """Gives the viewer's room back. Safe to repeat."""
        with self._lock:
            self._viewers.discard(viewer)

    def nudge(self) -> None:
        """Has the thread look at once."""
        self._nudged.set()

    def stop(self) -> None:
        """Ends all streams within a look, and refuses new ones: the process stops. Safe in a signal handler."""
        self._is_stopping = True

    def _check_room(self, client: str) -> None:
        own = sum(viewer.client == client for viewer in self._viewers)
        if self._is_stopping:
            told = "this process stops"
        elif len(self._viewers) >= self._limit:
            told = f"this process serves {self._limit} streams already"
        elif own >= self._limit_per_client:
            told = f"this process serves {own} streams to you already"
        else:
            return
        headers = {"Retry-After": str(TRY_AGAIN_SECONDS)}
        raise Problem(
            503, f"{told}: try again in a moment, or ask without a stream", "too-many-streams", headers=headers
        )

    def _run(self) -> None:
        while viewers := self._present():
            _end_those_who_left(viewers)
            asked: dict[Source, dict[Question, list[Viewer]]] = defaultdict(lambda: defaultdict(list))
            for viewer in viewers:
                if (question := viewer.asks()) is not None:
                    asked[viewer.source][question].append(viewer)
            for source, questions in asked.items():
                answers = (
                    _answers(source, questions) if not self._is_stopping else _ending("this server stops", questions)
                )
                for question, answer in answers.items():
                    for viewer in questions[question]:
                        viewer.tell(answer)
                    if answer.is_cut and not answer.text:  # nobody has to read it first
                        self._nudged.set()
            self._nudged.wait(LOOK_SECONDS)
            self._nudged.clear()

    def _present(self) -> list["Viewer"]:
        with self._lock:
            if not self._viewers:
                self._thread = None
            return list(self._viewers)


class Viewer:
    """One open stream: its question, and the answer that it has not taken yet. `client` is who watches, of whom there
    is a limit of streams; `socket` their connection, where the server shows it."""

    def __init__(self, source: Source, question: Question, client: str, socket: Any):
        self.source, self.client, self.socket = source, client, socket
        self._question: Question | None = question
        self._answer: Answer | None = None
        self._changed = threading.Condition()

    def asks(self) -> Question | None:
        """Its question; None while it has an answer to take, or none will come any more."""
        with self._changed:
            return self._question if self._answer is None else None

    def tell(self, answer: Answer) -> None:
        with self._changed:
            self._question = answer.next
            if answer.text or answer.next is None:
                self._answer = answer
                self._changed.notify()

    def take(self, timeout_seconds: float) -> Answer:
        """The next answer; where none comes in time, a sign of life, with the id that a client goes on from."""
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None, timeout_seconds)
            if self._answer is not None:
                answer, self._answer = self._answer, None
                return answer
            cursor = self._question.cursor if self._question is not None else ""
            return Answer(": still here\n" + (f"id: {cursor}\n" if cursor else "") + "\n", self._question)


class _Stream:
    """The events of a viewer, whose room is given back also where the client went before the first one."""

    def __init__(self, feed: Feed, viewer: Viewer):
        self._feed, self._viewer = feed, viewer

    def __iter__(self) -> Iterator[str]:
        over_at = time.monotonic() + STREAM_SECONDS
        yield f"retry: {RETRY_MS}\n\n"
        while (left_seconds := over_at - time.monotonic()) > 0:
            answer = self._viewer.take(min(PING_SECONDS, left_seconds))
            if answer.text:
                yield answer.text
            if answer.next is None:
                return
            if answer.is_cut:
                self._feed.nudge()

    def close(self) -> None:
        self._feed.close(self._viewer)


def _answers(source: Source, questions: Collection[Question]) -> dict[Question, Answer]:
    try:
        return source.look(questions)
    except StateUnavailable:
        return _ending("Postgres does not answer", questions)
    except Exception:  # else the streams would stay silent for ever
        log.exception("a look for news failed: %s streams end", len(questions))
        return _ending("a fault of the server", questions)


def _ending(why: str, questions: Collection[Question]) -> dict[Question, Answer]:
    """The client comes again, and goes on from its last event."""
    return dict.fromkeys(questions, Answer(f": {why}, come again\n\n", None))


def _end_those_who_left(viewers: Collection[Viewer]) -> None:
    """A client that hung up is noticed here, not when the next event cannot be written to it."""
    poll, watched = select.poll(), {}
    for viewer in viewers:
        if viewer.socket is not None and (descriptor := viewer.socket.fileno()) >= 0:
            poll.register(descriptor, HUNG_UP)
            watched[descriptor] = viewer
    for descriptor, _ in poll.poll(0):
        watched[descriptor].tell(Answer("", None))
