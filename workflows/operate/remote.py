"""Celery's remote control, with bounds: how long an answer is waited for, and how many of this process wait at once."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from ..dispatch.publisher import bounded_connection
from ..errors import BrokerUnavailable

ANSWER_SECONDS = 1.0  # that a worker has to answer; a call to all of them takes as long
AT_ONCE = 4  # conversations of one process: an API's threads are for others, too


class Conversation:
    """One connection to the broker, and the questions that are asked through it."""

    def __init__(self, app: Celery, connection: Any):
        self._app, self.connection = app, connection

    def ask(self, command: str, to: Sequence[str] | None = None, **arguments: Any) -> dict[str, Any]:
        """What the workers of these names answer, or all where None, by their names. Who is silent is missing."""
        if to is not None and not to:
            return {}
        answers = self._app.control.broadcast(
            command,
            arguments=arguments,
            destination=None if to is None else list(to),
            reply=True,
            timeout=ANSWER_SECONDS,
            connection=self.connection,
        )
        return {name: answer for each in answers or () for name, answer in each.items()}

    def tell(self, command: str, to: Sequence[str] | None = None, **arguments: Any) -> None:
        """As `ask`, and waits for no answer."""
        self._app.control.broadcast(command, arguments=arguments, destination=to, connection=self.connection)


class Remote:
    """Begins conversations. A new connection each time: one that has waited for answers is in no state to be lent."""

    def __init__(self, app: Celery, timeout_seconds: float):
        self._app, self._timeout_seconds = app, timeout_seconds
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    @contextmanager
    def conversation(self) -> Iterator[Conversation]:
        """Raises BrokerUnavailable: it is away, or AT_ONCE others are at it."""
        if not self._turns.acquire(timeout=ANSWER_SECONDS):
            raise BrokerUnavailable(f"{AT_ONCE} others ask workers just now: try again in a moment")
        try:
            with bounded_connection(self._app, self._timeout_seconds) as connection:
                faults = (OperationalError, OSError, *connection.connection_errors)
                try:
                    yield Conversation(self._app, connection)
                except faults as error:
                    raise BrokerUnavailable(f"the broker does not answer: {error}") from error
        finally:
            self._turns.release()
