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


def made_at(id: UUID) -> int:
    """When a UUIDv7 was made, in whole seconds since 1970."""
    return (id.int >> 80) // 1000
