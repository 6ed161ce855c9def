"""What may be done to a conversation, and when."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

import psycopg
from msgspec import UNSET

from app.conversations import repository
from app.conversations.repository import Busy, Connection, Conversation, Message
from app.conversations.schemas import (
    ConversationChange,
    NewConversation,
    NewMessage,
    contents_of,
    metadata_of,
    system_of,
)
from app.db.pool import Pool
from app.domain.errors import Conflict, NotFound, Unprocessable
from app.domain.ids import uuid7
from app.domain.principal import Tenant
from app.streaming.interruption import Interruption

T = TypeVar("T")


class ConversationBusy(Conflict):
    """A completion of the conversation is streaming; `busy` has its owner."""

    code = "conversation_busy"

    def __init__(self, busy: Busy) -> None:
        super().__init__("A completion of this conversation is running: wait for its end, or cancel it.")
        self.busy = busy


def no_such_conversation() -> NotFound:
    """For those that do not exist and those of other tenants alike."""
    return NotFound("There is no such conversation.")


async def create(conn: Connection, tenant: Tenant, new: NewConversation) -> Conversation:
    """Insert a conversation and its first messages. The caller's transaction keeps them together.

    Raises:
        Unprocessable: a field has a wrong value.
        Conflict: the tenant has a conversation with this `external_id`.
    """
    system, metadata, contents = (
        system_of(new.system),
        metadata_of(new.metadata),
        contents_of(new.messages, "messages"),
    )
    with refusals_told():
        conversation = await repository.insert(
            conn,
            id=uuid7(),
            tenant=tenant,
            external_id=new.external_id,
            title=new.title,
            system=system,
            metadata=metadata,
        )
    if new.messages:
        await _append(conn, tenant, conversation.id, new.messages, contents)
    return conversation


async def change(conn: Connection, tenant: Tenant, id: UUID, wanted: ConversationChange) -> Conversation:
    """
    Raises:
        Unprocessable: a field has a wrong value.
        NotFound: the tenant has no such conversation.
        Conflict: the tenant has another one with this `external_id`.
    """
    changes: dict[str, str | bytes | None] = {}
    if wanted.external_id is not UNSET:
        changes["external_id"] = wanted.external_id
    if wanted.title is not UNSET:
        changes["title"] = wanted.title
    if wanted.system is not UNSET:
        changes["system"] = system_of(wanted.system)
    if wanted.metadata is not UNSET:
        changes["metadata"] = metadata_of(wanted.metadata)
    with refusals_told():
        conversation = await repository.update(conn, tenant, id, changes)
    if conversation is None:
        raise no_such_conversation()
    return conversation


async def append(
    pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID, new: Sequence[NewMessage]
) -> list[Message]:
    """
    Raises:
        Unprocessable: a content has a wrong shape.
        NotFound: the tenant has no such conversation.
        ConversationBusy: wait.
    """
    contents = contents_of(new)

    async def act(conn: Connection) -> list[Message]:
        await repository.touch(conn, tenant, id)
        return await _append(conn, tenant, id, new, contents)

    return await _while_free(pool, interruption, tenant, id, act)


async def delete_last_message(pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID) -> None:
    """
    Raises:
        NotFound: the tenant has no such conversation, or it has no messages.
        ConversationBusy: wait.
    """

    async def act(conn: Connection) -> None:
        if not await repository.delete_last(conn, tenant, id):
            raise NotFound("This conversation has no messages.", code="no_messages")
        await repository.touch(conn, tenant, id)

    await _while_free(pool, interruption, tenant, id, act)


async def delete(pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID) -> None:
    """
    Raises:
        NotFound: the tenant has no such conversation.
        ConversationBusy: wait.
    """
    await _while_free(pool, interruption, tenant, id, lambda conn: repository.delete(conn, tenant, id))


async def _append(
    conn: Connection, tenant: Tenant, id: UUID, new: Sequence[NewMessage], contents: Sequence[bytes]
) -> list[Message]:
    return await repository.append(
        conn, tenant, id, ids=[uuid7() for _ in new], roles=[message.role for message in new], contents=contents
    )


async def _while_free(
    pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID, act: Callable[[Connection], Awaitable[T]]
) -> T:
    """`act` in one transaction that holds the conversation, while no completion of it runs.

    One that a lost instance left behind is ended first; not inside the transaction, whose lock its end needs.
    """
    try:
        return await _if_free(pool, interruption, tenant, id, act)
    except ConversationBusy as error:
        if not await interruption.of_dead(error.busy.instance_id):
            raise
    return await _if_free(pool, interruption, tenant, id, act)


async def _if_free(
    pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID, act: Callable[[Connection], Awaitable[T]]
) -> T:
    async with pool.connection() as conn, conn.transaction():
        if not await repository.lock(conn, tenant, id):
            raise no_such_conversation()
        if busy := await repository.busy(conn, tenant, id, interruption.lease):
            raise ConversationBusy(busy)
        return await act(conn)


@contextmanager
def refusals_told() -> Iterator[None]:
    """What Postgres refuses of a conversation's fields, as an error of the caller.

    Raises:
        Conflict: `external_id` is taken.
        Unprocessable: jsonb cannot hold `metadata`: NUL, a lone surrogate, or too deep.
    """
    try:
        yield
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            "There is a conversation with this external_id.", code="external_id_taken", param="external_id"
        ) from None
    except (psycopg.DataError, psycopg.errors.StatementTooComplex):
        raise Unprocessable("metadata: Holds something that cannot be stored, such as NUL", param="metadata") from None
