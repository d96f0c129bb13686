"""Who asks: of whom a request is, and what they may do. The guard puts it in `g.principal`, its name in `g.actor`."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from ...state.ids import public
from .scopes import ADMIN, covers

ROOT = "root"  # who has the key of the setting api_key
LOOPBACK = "loopback"  # whoever asks on this machine, where no such key is set
KEY = "key"  # who has a key of the table
RUN_TOKEN = "run_token"  # who has the token of one run
PERSON = "person"  # who logged in, or whom the proxy or the application before us names
NOBODY = "nobody"  # of whom nothing is asked: webhooks, callbacks, health checks

ALL = frozenset({ADMIN})


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` stands in histories as the actor. `key_id` is that of a KEY, `run_id` the run of a RUN_TOKEN, `role`
    that of a PERSON."""

    kind: str
    name: str
    scopes: Collection[str] = frozenset()
    key_id: UUID | None = None
    run_id: UUID | None = None
    role: str | None = None

    @property
    def identity(self) -> str:
        """Tells one from the other, whatever their names are: `root`, `key_0193...`, `person:ada`."""
        if self.kind == PERSON:
            return f"{PERSON}:{self.name}"
        if self.key_id is not None:
            return public("key", self.key_id)
        return public("run", self.run_id) if self.run_id is not None else self.kind

    def may(self, scope: str) -> bool:
        """Whether what needs this scope is theirs to do."""
        return covers(self.scopes, scope)
