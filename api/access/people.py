"""Who a person is to us: a name and a role. The name stands in histories as the actor; the role is a set of scopes.

Where somebody else knows the person, a provider of OpenID Connect or a proxy, the setting `roles` says who has which
role, by entries `<who>:<role>` with commas between. `<who>` is one of

    ada@example.org     whose e-mail is exactly this, in either case of letters
    @example.org        whose e-mail is of exactly this domain, and of none below it
    group:ops           who is in this group
    user:4711           whom the provider (`sub`), or the proxy, calls so
    *                   whoever it lets in

Who fits several has the role that may most. Who fits none may do nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from ...workflows.errors import UsageError
from ..exchange.body import nearest
from .principal import PERSON, Principal
from .scopes import ROLES

NAME_LIMIT = 100  # characters, of an actor
EVERYBODY = "*"
HOW = "as in CELERIAC_ROLES='ada@example.org:admin, @example.org:viewer, group:ops:operator'"


def person(name: str, role: str) -> Principal:
    """The person of this name, with what the role may. Raises UsageError for what is neither."""
    checked_role(role)
    shown = "".join(each for each in name if each.isprintable())[:NAME_LIMIT].strip()
    if not shown:
        raise UsageError("a person needs a name: it stands in the history of what they move")
    return Principal(PERSON, shown, ROLES[role], role=role)


def checked_role(role: str) -> str:
    """The role, if there is such a one. Raises UsageError."""
    if role not in ROLES:
        raise UsageError(f"{role!r} is no role{nearest(role, list(ROLES))}: {', '.join(ROLES)}")
    return role


@dataclass(frozen=True, slots=True)
class Identity:
    """What somebody else says of a person. `email` is one that they vouch for; None: they do not."""

    user: str
    email: str | None = None
    groups: Collection[str] = ()

    @property
    def name(self) -> str:
        return self.email or self.user


@dataclass(frozen=True, slots=True)
class Roles:
    """The setting `roles`: the role of each who is named there."""

    entries: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError for an entry that names nobody, or no role."""
        entries = []
        for entry in filter(None, (each.strip() for each in text.replace("\n", ",").split(","))):
            who, _, role = entry.rpartition(":")
            if not _is_somebody(who):
                raise UsageError(f"celeriac_roles: {entry!r} names nobody: give <who>:<role>, {HOW}")
            entries.append((who if who.startswith(("group:", "user:")) else who.lower(), checked_role(role)))
        return cls(tuple(entries))

    @property
    def groups(self) -> frozenset[str]:
        """The groups that make a difference."""
        return frozenset(who.removeprefix("group:") for who, _ in self.entries if who.startswith("group:"))

    def of(self, identity: Identity) -> str | None:
        """The role of somebody. None: they have none."""
        found = {role for who, role in self.entries if _fits(who, identity)}
        return max(found, key=list(ROLES).index, default=None)

    def person(self, identity: Identity) -> Principal | None:
        """Who it is to us. None: nobody gave them a role."""
        role = self.of(identity)
        return person(identity.name, role) if role else None


def _is_somebody(who: str) -> bool:
    if who.startswith(("group:", "user:")):
        return bool(who.partition(":")[2])
    return who == EVERYBODY or (who.count("@") == 1 and not who.endswith("@") and ":" not in who)


def _fits(who: str, identity: Identity) -> bool:
    kind, _, rest = who.partition(":")
    if kind == "group":
        return rest in identity.groups
    if kind == "user":
        return rest == identity.user
    if who == EVERYBODY:
        return True
    email = (identity.email or "").lower()
    if email.count("@") != 1:  # a quoted local part may hold another one, and be read differently elsewhere
        return False
    return email.endswith(who) if who.startswith("@") else email == who
