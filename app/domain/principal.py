"""Who is asking."""

from enum import StrEnum
from typing import NewType
from uuid import UUID

import msgspec

# Who owns rows. A type of its own, so that none of the functions that ask for it can be given another string.
Tenant = NewType("Tenant", str)


class Scope(StrEnum):
    ADMIN = "admin"
    COMPLETIONS = "completions"
    CONVERSATIONS = "conversations"
    APPROVALS = "batches:approve"


class Principal(msgspec.Struct, frozen=True):
    """A key, or a short-lived token that is bound to one completion or one conversation.

    `key_id` is None for the configured admin key, which has no row. `allowed` lists what the key may use of the
    request fields that cost more or reach further (`app.completions.held_back` has them).
    """

    tenant: Tenant
    key_id: UUID | None
    scopes: frozenset[Scope]
    allowed: frozenset[str] = frozenset()
    completion_id: UUID | None = None
    conversation_id: UUID | None = None

    @property
    def bound(self) -> bool:
        return self.completion_id is not None or self.conversation_id is not None
