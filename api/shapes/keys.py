"""Keys, run tokens and the audit, as the API answers them."""

from typing_extensions import TypedDict

from .scalars import KeyId, KeyState, Moment, RunId, Scope


class Key(TypedDict):
    """An API key, without its text."""

    id: KeyId
    name: str
    prefix: str
    """With which its text begins"""
    scopes: list[Scope]
    state: KeyState
    created_at: Moment
    created_by: str | None
    expires_at: Moment | None
    last_used_at: Moment | None
    """To the minute"""
    replaced_by: KeyId | None
    revoked_at: Moment | None
    revoked_by: str | None


class ShownKey(Key):
    """An API key that was just made, with its text."""

    key: str
    """Its text, which is never shown again"""


class KeyList(TypedDict):
    keys: list[Key]


class Asker(TypedDict):
    """Who asks, and what they may do."""

    principal: str
    """`root`, `loopback`, `person:<name>`, or the id of a key or run"""
    kind: str
    name: str
    """The actor in the history of what they move"""
    scopes: list[Scope]
    key: Key | None


class RunToken(TypedDict):
    """A token with which somebody without a key can look at a run for a while."""

    id: RunId
    token: str
    token_expires_at: Moment


class AuditEntry(TypedDict):
    """A request that could change something."""

    id: str
    at: Moment
    actor: str
    principal: str
    """`root`, `loopback`, `person:<name>`, or the id of a key or run"""
    key_id: KeyId | None
    method: str
    path: str
    route: str | None
    object_id: str | None
    """What it made, else what it was for"""
    status: int
    request_id: str


class AuditPage(TypedDict):
    """A page of the audit. `next_cursor` null: it is the last one."""

    audit: list[AuditEntry]
    next_cursor: str | None
