"""Identifiers: UUIDv7 in the tables, `run_<32 hex>` wherever a person or a program outside reads them."""

import secrets
import time
from uuid import UUID


class _Last:
    value = 0


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): ordered by creation, also within one millisecond of one process, so that runs that were
    started together are executed in their order, and indexes grow at one end."""
    unix_ms = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    version_and_a = 0x7000 | (random_bits >> 62)
    variant_and_b = (0b10 << 62) | (random_bits & ((1 << 62) - 1))
    drawn = (unix_ms << 80) | (version_and_a << 64) | variant_and_b
    # A random distance, not one: two threads, or two processes after a fork, may go on from the same last id.
    _Last.value = id = drawn if drawn > _Last.value else _Last.value + 1 + secrets.randbits(40)
    return UUID(int=id)


def public(prefix: str, id: UUID) -> str:
    """`public("run", id)` -> `run_0193f0...`. The hex part pastes into psql as it is."""
    return f"{prefix}_{id.hex}"


def parse(prefix: str, text: str) -> UUID:
    """The UUID of `run_0193f0...` or of a bare UUID. Raises ValueError with what was expected."""
    try:
        return UUID(text.removeprefix(f"{prefix}_"))
    except ValueError:
        raise ValueError(f"{text!r} is not a {prefix} id: expected {prefix}_ and 32 hex digits") from None
