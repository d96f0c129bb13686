"""What people and programs do with subscriptions: make, change, pause and try them, and rotate their secrets."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...state import outbound
from ...state.database import Row
from ...state.ids import new_id, public
from ...state.runs import OUTBOUND
from ..errors import SubscriptionConflict, UnknownSubscription, UsageError
from ..options import is_word
from ..run import Run
from ..trigger import Source
from .address_guard import Guard
from .cipher import cipher, fingerprint
from .sender import DOCUMENTS, EVENTS, TEST
from .signing import key_of, new_secret

if TYPE_CHECKING:
    from ..application import Celeriac

OVERLAP_SECONDS = 86_400.0  # for which the secrets before a new one sign beside it
WORKFLOWS_LIMIT = 100  # that one subscription can name
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it is the key of its line, too; those of callbacks have a space


class Secreted(NamedTuple):
    """A subscription, and its new secret, which nobody is shown again."""

    row: Row
    secret: str


class SubscriptionControl:
    """One subscription, by its name: `durable.subscription("crm").create("https://crm.example/hook", ["run.failed"])`.

    All raise StateUnavailable; all but `create` raise UnknownSubscription. `actor` is who did it, for those who look.
    """

    def __init__(self, durable: "Celeriac", name: str):
        if not NAME.fullmatch(name):
            raise UsageError(f"{name[:100]!r} names no subscription: give 1 to 100 letters, digits, '.', '_' and '-'")
        self._durable, self.name = durable, name

    def __repr__(self) -> str:
        return f"<subscription {self.name}>"

    @property
    def row(self) -> Row:
        """The subscription as it is."""
        return self._known(outbound.get(self._durable.database, self.name))

    def create(
        self,
        url: str,
        events: Sequence[str] = EVENTS,
        *,
        workflows: Sequence[str] = (),
        include: Sequence[str] = ("output",),
        secret: str | None = None,
        actor: str | None = None,
    ) -> Secreted:
        """Makes it: from now on `url` gets a signed POST for each of these events.

        - workflows: of whose runs; default of all.
        - include: documents of a run that are told: "payload", "output", "metadata". Default its output.
        - secret: `whsec_...`; default a new one, in what this returns.

        Raises SubscriptionConflict where there is one of this name; AddressRefused, UsageError before anything is
        stored.
        """
        self.check(url=url, events=events, workflows=workflows, include=include, secret=secret)
        text = self._encryptable(secret)
        with self._durable.database.transaction() as transaction:
            row = outbound.create(
                transaction, self.name, url, events, workflows=workflows, include=include, actor=actor
            )
            if row is None:
                raise SubscriptionConflict(
                    f"subscription {self.name!r} is there already: change it, or choose another name. "
                    "Nothing was changed."
                )
            self._store(transaction, text, actor)
        return Secreted(row, text)

    def update(
        self,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        workflows: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
    ) -> Row:
        """Changes what is given, also for messages that are under way. Raises AddressRefused, UsageError."""
        self.check(url=url, events=events, workflows=workflows, include=include)
        return self._known(
            outbound.change(
                self._durable.database, self.name, url=url, events=events, workflows=workflows, include=include
            )
        )

    def pause(self, actor: str | None = None, note: str | None = None) -> Row:
        """What is to be told is kept, and waits."""
        return self._known(outbound.pause(self._durable.database, self.name, actor, note))

    def resume(self) -> tuple[Row, int]:
        """Ends a pause, or that it is disabled: the subscription, and how many messages had waited."""
        resumed = outbound.resume(self._durable.database, self.name)
        if resumed is None:
            raise self._unknown()
        row, released = resumed
        self._durable.dispatcher.offer(released)
        return row, len(released)

    def rotate(
        self, secret: str | None = None, *, overlap_seconds: float = OVERLAP_SECONDS, actor: str | None = None
    ) -> Secreted:
        """A new secret takes over; those before it sign beside it for `overlap_seconds`. Raises UsageError."""
        self.check(secret=secret)
        text, row = self._encryptable(secret), self.row
        self._store(self._durable.database, text, actor, overlap_seconds)
        return Secreted(row, text)

    def remove(self) -> Row:
        """Nothing more is told; messages that are under way fail with their next attempt."""
        removed = outbound.remove(self._durable.database, self.name)
        if removed is None:
            raise self._unknown()
        row, released = removed
        self._durable.dispatcher.offer(released)
        return row

    def test(self, actor: str | None = None) -> Run:
        """Sends a signed sample, as all that it is told: by a run. Raises UsageError where it is disabled."""
        row = self.row
        if row["disabled_at"] is not None:
            raise UsageError(f"subscription {self.name!r} is disabled: {row['disabled_reason']}. Resume it first")
        message = {
            "id": public("msg", new_id()),
            "type": TEST,
            "timestamp": self._durable.database.now().isoformat().replace("+00:00", "Z"),
            "subscription": self.name,
            "data": {"subscription": self.name, "events": row["events"]},
        }
        return self._durable.start(OUTBOUND, message, {"concurrency_key": self.name}, Source("outbound", None, actor))

    def check(
        self,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        workflows: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
        secret: str | None = None,
    ) -> None:
        """Raises AddressRefused, UsageError for what cannot be."""
        if url is not None:
            Guard.of(self._durable.settings).place(url)
        check_words("events", events, EVENTS)
        if events is not None and not events:
            raise UsageError(f"events: give at least one of {', '.join(EVENTS)}")
        check_words("include", include, DOCUMENTS)
        if workflows is not None and not are_words(workflows):
            raise UsageError(f"workflows: give at most {WORKFLOWS_LIMIT} names; none is all of them")
        if secret is not None:
            key_of(secret)

    def _encryptable(self, secret: str | None) -> str:
        """The secret, or a new one. Raises UsageError where there is no key to encrypt it with."""
        cipher(self._durable.settings)
        return secret or new_secret()

    def _store(self, db: Any, text: str, actor: str | None, overlap_seconds: float | None = None) -> None:
        ciphertext = cipher(self._durable.settings).encrypt(text.encode()).decode()
        outbound.add_secret(
            db, self.name, fingerprint(self.name, text), ciphertext, actor=actor, overlap_seconds=overlap_seconds
        )

    def _known(self, row: Row | None) -> Row:
        if row is None:
            raise self._unknown()
        return row

    def _unknown(self) -> UnknownSubscription:
        return UnknownSubscription(f"there is no subscription named {self.name!r}")


def check_words(member: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    if given is None:
        return
    strange = [given] if isinstance(given, str) else [each for each in given if each not in known]
    if strange:
        raise UsageError(f"{member}: {strange[0]!r} is none: give a list of {', '.join(known)}")


def are_words(names: Sequence[str]) -> bool:
    return not isinstance(names, str) and len(names) <= WORKFLOWS_LIMIT and all(is_word(each, 500) for each in names)
