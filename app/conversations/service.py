"""What may be done to a conversation, and when."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar
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
from app.db import idempotency
from app.db.pool import Pool
from app.domain.completion import Idempotency
from app.domain.errors import Conflict, NotFound, Unprocessable
from app.domain.ids import following, uuid7
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


class Made(NamedTuple, Generic[T]):
    """What a request has made; `replayed` where an earlier one with the same idempotency key has."""

    made: T
    replayed: bool = False


async def create(pool: Pool, tenant: Tenant, new: NewConversation, again: Idempotency | None) -> Made[Conversation]:
    """Insert a conversation and its first messages.

    Raises:
        Unprocessable: a field has a wrong value, or the idempotency key has named another request.
        Conflict: the tenant has a conversation with this `external_id`.
        NotFound: what an earlier request made was deleted.
    """
    system, metadata, contents = (
        system_of(new.system),
        metadata_of(new.metadata),
        contents_of(new.messages, "messages"),
    )
    id = uuid7()
    async with pool.connection() as conn, conn.transaction():
        if made := await idempotency.claim(conn, tenant, again, id):
            return Made(await _existing(conn, tenant, made), replayed=True)
        with refusals_told():
            conversation = await repository.insert(
                conn,
                id=id,
                tenant=tenant,
                external_id=new.external_id,
                title=new.title,
                system=system,
                metadata=metadata,
            )
        if new.messages:
            await _append(conn, tenant, id, uuid7(), new.messages, contents)
    return Made(conversation)


async def get(pool: Pool, tenant: Tenant, id: UUID) -> Conversation:
    """
    Raises:
        NotFound: the tenant has no such conversation.
    """
    async with pool.connection() as conn:
        return await _existing(conn, tenant, id)


async def _existing(conn: Connection, tenant: Tenant, id: UUID) -> Conversation:
    conversation = await repository.get(conn, tenant, id)
    if conversation is None:
        raise no_such_conversation()
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
    pool: Pool,
    interruption: Interruption,
    tenant: Tenant,
    id: UUID,
    new: Sequence[NewMessage],
    again: Idempotency | None,
) -> Made[list[Message]]:
    """
    Raises:
        Unprocessable: a content has a wrong shape, or the idempotency key has named another request.
        NotFound: the tenant has no such conversation, or what an earlier request appended was deleted.
        ConversationBusy: wait.
    """
    contents = contents_of(new)
    first = uuid7()

    async def attempt() -> Made[list[Message]]:
        async with pool.connection() as conn, conn.transaction():
            # Before the conversation is locked, as admission does it.
            if made := await idempotency.claim(conn, tenant, again, first):
                return Made(await _appended(conn, tenant, id, made, len(new)), replayed=True)
            await _lock_free(conn, interruption, tenant, id)
            await repository.touch(conn, tenant, id)
            return Made(await _append(conn, tenant, id, first, new, contents))

    return await _past_lost_instances(interruption, attempt)


async def _append(
    conn: Connection, tenant: Tenant, id: UUID, first: UUID, new: Sequence[NewMessage], contents: Sequence[bytes]
) -> list[Message]:
    roles = [message.role for message in new]
    return await repository.append(conn, tenant, id, ids=following(first, len(new)), roles=roles, contents=contents)


async def _appended(conn: Connection, tenant: Tenant, id: UUID, first: UUID, count: int) -> list[Message]:
    messages = await repository.appended(conn, tenant, id, following(first, count))
    if not messages:
        raise NotFound("What this request appended before was deleted.", code="no_messages")
    return messages


async def delete_last_message(pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID) -> None:
    """
    Raises:
        NotFound: the tenant has no such conversation, or it has no messages.
        ConversationBusy: wait.
    """

    async def attempt() -> None:
        async with pool.connection() as conn, conn.transaction():
            await _lock_free(conn, interruption, tenant, id)
            if not await repository.delete_last(conn, tenant, id):
                raise NotFound("This conversation has no messages.", code="no_messages")
            await repository.touch(conn, tenant, id)

    await _past_lost_instances(interruption, attempt)


async def delete(pool: Pool, interruption: Interruption, tenant: Tenant, id: UUID) -> None:
    """
    Raises:
        NotFound: the tenant has no such conversation.
        ConversationBusy: wait.
    """

    async def attempt() -> None:
        async with pool.connection() as conn, conn.transaction():
            await _lock_free(conn, interruption, tenant, id)
            await repository.delete(conn, tenant, id)

    await _past_lost_instances(interruption, attempt)


async def _past_lost_instances(interruption: Interruption, attempt: Callable[[], Awaitable[T]]) -> T:
    """`attempt`, which needs a conversation of which no completion runs.

    One that a lost instance left behind is ended first; not inside the transaction, whose lock its end needs.
    """
    try:
        return await attempt()
    except ConversationBusy as error:
        if not await interruption.of_dead(error.busy.instance_id):
            raise
    return await attempt()


async def _lock_free(conn: Connection, interruption: Interruption, tenant: Tenant, id: UUID) -> None:
    """Hold the conversation until the transaction ends, if no completion of it runs."""
    if not await repository.lock(conn, tenant, id):
        raise no_such_conversation()
    if busy := await repository.busy(conn, tenant, id, interruption.lease):
        raise ConversationBusy(busy)


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
