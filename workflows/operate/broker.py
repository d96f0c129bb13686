"""What waits in Celery's own lists: the messages of plain tasks, and the hints that workers get of runs."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amqp.exceptions import ChannelError as AmqpChannelError
from kombu.exceptions import ChannelError

from ..errors import UnknownQueue
from .remote import Conversation

if TYPE_CHECKING:
    from ..application import Celeriac
    from .workers import Node

UNACKED_LIMIT = 200  # up to which unacknowledged messages are told apart by their lists: each is read for it
SCAN_SECONDS = 0.5  # for which bindings are looked for in a Redis that holds much else
OWN_WORDS = ("pidbox", "celeryev")  # in the names of what Celery itself talks through


@dataclass(frozen=True, slots=True)
class BrokerList:
    """One list. None: it cannot be told. `priorities` has its parts, where it has more than one."""

    name: str
    messages: int
    unacked: int | None
    consumers: int | None
    priorities: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lists:
    """All of them. `unacked` are the messages that workers have and have not acknowledged, and `oldest_unacked_seconds`
    for how long one of them has had the oldest; None where the broker does not tell."""

    transport: str
    lists: Sequence[BrokerList]
    unacked: int | None = None
    oldest_unacked_seconds: float | None = None


class Broker:
    """`durable.broker.lists()`, `durable.broker.purge("celery")`. All raise BrokerUnavailable."""

    def __init__(self, durable: "Celeriac"):
        self._durable = durable

    def lists(self, nodes: Sequence["Node"] = ()) -> Lists:
        """The lists that the app declares, those that `nodes` consume, and in Redis those that anyone has declared.

        Redis tells exact counts; another broker what it says to a passive declaration.
        """
        consumers = Counter(queue["name"] for node in nodes for queue in node.queues)
        with self._durable.remote.conversation() as said:
            channel = said.connection.default_channel
            names = self._names(channel, consumers)
            transport = str(said.connection.transport.driver_type)
            if _is_redis(channel):
                return _of_redis(channel, transport, names, consumers if nodes else None)
            found = [each for name in names if (each := _declared(said, name)) is not None]
            return Lists(transport, found)

    def purge(self, name: str) -> int:
        """Drops the messages of a list that wait, and returns how many. Those of runs come back: beat publishes what
        its rows say is queued. Those of plain tasks are lost. Raises UnknownQueue for what is no list."""
        with self._durable.remote.conversation() as said:
            channel = said.connection.default_channel
            if name not in self._names(channel, {}):
                raise UnknownQueue(f"the broker has no list named {name[:100]!r} that this app knows")
            return int(channel.queue_purge(name) or 0)

    def _names(self, channel: Any, consumed: Mapping[str, int]) -> list[str]:
        declared = {str(name) for name in self._durable.app.amqp.queues}
        bound = set(_bound(channel)) if _is_redis(channel) else set()
        return sorted(declared | bound | set(consumed))


def _is_redis(channel: Any) -> bool:
    return hasattr(channel, "unacked_key") and hasattr(channel, "priority_steps")


def _whole(channel: Any, key: str) -> str:
    """A key for those commands that kombu does not prepend its global_keyprefix to."""
    return f"{getattr(channel, 'global_keyprefix', '') or ''}{key}"


def _bound(channel: Any) -> Iterator[str]:
    """The lists that somebody has bound to an exchange in Redis."""
    until = time.monotonic() + SCAN_SECONDS
    with channel.conn_or_acquire() as client:
        for key in client.scan_iter(match=_whole(channel, channel.keyprefix_queue % "*"), count=1000):
            if time.monotonic() > until:
                return
            own = key.decode().removeprefix(_whole(channel, ""))
            for member in client.smembers(own) if client.type(key) == b"set" else ():
                name = member.decode().split(channel.sep)[-1]
                if name and not any(word in name for word in OWN_WORDS):
                    yield name


def _of_redis(channel: Any, transport: str, names: Sequence[str], consumers: Mapping[str, int] | None) -> Lists:
    steps = list(channel.priority_steps)
    with channel.conn_or_acquire() as client:
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                for step in steps:
                    pipe.llen(channel._q_for_pri(name, step))
            pipe.hlen(channel.unacked_key)
            index = _whole(channel, channel.unacked_index_key)
            pipe.zrangebyscore(index, "-inf", "+inf", start=0, num=1, withscores=True)
            *lengths, unacked, oldest = pipe.execute()
        unacked_of = _unacked_of(client, channel) if unacked <= UNACKED_LIMIT else None
    found = []
    for at, name in enumerate(names):
        parts = dict(zip(map(str, steps), lengths[at * len(steps) :], strict=False))
        found.append(
            BrokerList(
                name,
                sum(parts.values()),
                None if unacked_of is None else unacked_of[name],
                None if consumers is None else consumers.get(name, 0),
                {step: count for step, count in parts.items() if count} if any(list(parts.values())[1:]) else {},
            )
        )
    age = max(0.0, time.time() - oldest[0][1]) if oldest else None
    return Lists(transport, found, int(unacked), age)


def _unacked_of(client: Any, channel: Any) -> Counter[str]:
    """How many messages of each list workers hold, by the routing key, which is the list's name unless it was set."""
    found: Counter[str] = Counter()
    for text in client.hvals(_whole(channel, channel.unacked_key)):
        try:
            found[json.loads(text)[2]] += 1
        except (ValueError, LookupError, TypeError):
            continue  # not written by kombu
    return found


def _declared(said: Conversation, name: str) -> BrokerList | None:
    """What another broker says of a list; None where there is none."""
    channel = said.connection.channel()  # a refusal closes it
    try:
        told = channel.queue_declare(queue=name, passive=True)
    except (ChannelError, AmqpChannelError):
        return None
    finally:
        channel.close()
    return BrokerList(name, int(told.message_count), None, int(told.consumer_count))
