"""The users of the login `basic`: entries `<name>:<role>:<hash>` of the setting `users`, with commas between.

The hash is scrypt, as Werkzeug makes it: slow and hungry for memory by intent, so that a list that leaked is worth
little. That is also a way to keep a server busy; so few are computed at once, and failed logins are few (`logins.py`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore

from werkzeug.security import check_password_hash, generate_password_hash

from ...workflows.errors import UsageError
from .people import checked_role

METHOD = "scrypt:32768:8:1"  # 32 MB for each that is computed
NAME = re.compile(r"[^\s:,]{1,100}")
HASH = re.compile(r"(scrypt:\d+:\d+:\d+|pbkdf2:sha\d+:\d+)\$[^$\s,]+\$[0-9a-f]+")
SHORTEST = 8  # characters of a password
LONGEST = 1000
AT_ONCE = BoundedSemaphore(2)
NOBODYS = f"{METHOD}$AAAAAAAAAAAAAAAA${'0' * 128}"  # of no password: who is unknown costs as much as who is known


@dataclass(frozen=True, slots=True)
class User:
    """One entry."""

    name: str
    role: str
    hash: str

    @property
    def mark(self) -> str:
        """Tells this password from the one before: what was begun with that one is over."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]


def line(name: str, role: str, password: str) -> str:
    """The entry of a user, with a new hash. Raises UsageError for a name, a role or a password that cannot be."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no user name: 1 to 100 characters without spaces, colons and commas")
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters")
    return f"{name}:{checked_role(role)}:{generate_password_hash(password, METHOD)}"


def parsed(text: str) -> dict[str, User]:
    """The users by name. Raises UsageError for an entry that is none, without repeating its hash."""
    users: dict[str, User] = {}
    for entry in filter(None, (each.strip() for each in text.replace("\n", ",").split(","))):
        name, _, rest = entry.partition(":")
        role, _, hash = rest.partition(":")
        if not NAME.fullmatch(name) or not HASH.fullmatch(hash):
            raise UsageError(
                f"celeriac_users: the entry of {name[:100]!r} is not <name>:<role>:<hash>: `celeriac user` makes one. "
                "A $ of the hash may have been taken for a variable: put the value in single quotes"
            )
        if name in users:
            raise UsageError(f"celeriac_users: {name!r} stands there twice")
        users[name] = User(name, checked_role(role), hash)
    return users


def verified(users: Mapping[str, User], name: str, password: str) -> User | None:
    """The user of this name, if the password is theirs. It takes as long where there is no such user."""
    user = users.get(name)
    with AT_ONCE:
        is_right = check_password_hash(user.hash if user else NOBODYS, password[:LONGEST])
    return user if is_right else None
