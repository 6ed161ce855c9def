"""Secrets of keys and browser tokens: made here, shown once, kept only as their SHA-256.

A secret is 256 random bits. There is nothing to guess, so a fast hash protects it as well as a slow one would.
"""

import hashlib
import re
import secrets
from typing import Final, NamedTuple

_KEY_PREFIX: Final = "hw_"
_BOUND_PREFIX: Final = "hwt_"
_POSSIBLE: Final = re.compile(rf"(?:{_KEY_PREFIX}|{_BOUND_PREFIX})[A-Za-z0-9_-]{{43}}", re.ASCII)
_SHOWN: Final = 6


class Credential(NamedTuple):
    """`secret` goes to its holder and nowhere else; `shown_prefix` lets people tell one key from another."""

    secret: str
    sha256: bytes
    shown_prefix: str


def new_key() -> Credential:
    return _new(_KEY_PREFIX)


def new_token() -> Credential:
    return _new(_BOUND_PREFIX)


def _new(prefix: str) -> Credential:
    secret = prefix + secrets.token_urlsafe(32)
    return Credential(secret, digest(secret), secret[: len(prefix) + _SHOWN])


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def is_possible(secret: str) -> bool:
    """Whether `secret` looks like one of ours; what does not needs no look-up."""
    return _POSSIBLE.fullmatch(secret) is not None
