"""Rows are reached by their tenant alone: another one's name and the right id are not enough, in any function."""

from collections.abc import AsyncIterator

import pytest

from app.conversations import chats, repository
from app.conversations.repository import Connection
from app.domain.ids import uuid7
from app.domain.principal import Tenant
from tests.support.api import Api

OURS, THEIRS = Tenant("ours"), Tenant("theirs")


@pytest.fixture
async def conn(api: Api) -> AsyncIterator[Connection]:
    async with api.pool.connection() as conn:
        yield conn


async def test_messages_are_reached_by_their_conversations_tenant(conn: Connection) -> None:
    id = uuid7()
    await repository.insert(conn, id=id, tenant=OURS, external_id="chat", title=None, system=None, metadata="{}")

    async def append(tenant: Tenant) -> int:
        return len(await repository.append(conn, tenant, id, ids=[uuid7()], roles=["user"], contents=[b'"Hello."']))

    async def texts(tenant: Tenant) -> list[bytes]:
        found = await repository.messages(conn, tenant, id, after=0, limit=10, max_bytes=1000)
        assert [turn.content for turn in await chats.last_turns(conn, tenant, id, 10)] == [m.content for m in found]
        return [message.content for message in found]

    assert (await append(OURS), await append(THEIRS)) == (1, 0)
    assert (await texts(OURS), await texts(THEIRS)) == ([b'"Hello."'], [])

    [message] = await repository.messages(conn, OURS, id, after=0, limit=1, max_bytes=1000)
    for position in (chats.question_position, chats.answer_position):
        assert await position(conn, OURS, id, str(message.id)) is not None
        assert await position(conn, THEIRS, id, str(message.id)) is None

    await chats.cut(conn, THEIRS, id, 1, uuid7())
    assert not await repository.delete_last(conn, THEIRS, id)
    await repository.delete(conn, THEIRS, id)
    assert await texts(OURS) == [b'"Hello."']
    await repository.delete(conn, OURS, id)
    assert await repository.get(conn, OURS, id) is None
