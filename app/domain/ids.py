"""Identifiers: UUIDv7 (RFC 9562 section 5.7), so that rows of one table lie in the order they were made."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """A new UUIDv7.

    Its random bits come from the kernel, never from a generator in this process: instances restored from one
    memory snapshot would all continue the same generator.
    """
    milliseconds = time.time_ns() // 1_000_000
    bits = milliseconds << 80 | int.from_bytes(os.urandom(10))
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=bits)


def following(id: UUID, count: int) -> list[UUID]:
    """So many ids, the first of which is `id`: one of them and their number name them all."""
    # Counted in the low 62 bits alone, so that version and variant stay what they are.
    high, low = id.int >> 62 << 62, id.int & (1 << 62) - 1
    return [UUID(int=high | (low + n) % (1 << 62)) for n in range(count)]


def least_at(seconds: float) -> UUID:
    """The least UUIDv7 of a moment, in seconds since 1970: those made before it are less."""
    milliseconds = min(max(int(seconds * 1000), 0), (1 << 48) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62)


def made_at(id: UUID) -> int:
    """When a UUIDv7 was made, in whole seconds since 1970."""
    return (id.int >> 80) // 1000
