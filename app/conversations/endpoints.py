"""`/v1/conversations` and their messages."""

import re
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from msgspec import Raw, Struct
from msgspec.json import Decoder

from app.conversations import repository, service
from app.conversations.bodies import body_of
from app.conversations.repository import Conversation, Message
from app.conversations.schemas import (
    ConversationChange,
    ConversationOut,
    ConversationPage,
    MessageList,
    MessageOut,
    MessagePage,
    NewConversation,
    NewMessage,
    NewMessages,
    metadata_of,
)
from app.dependencies import EngineDep, IdempotencyDep, PageDep, PoolDep, Requires, SettingsDep, replay_headers
from app.domain.errors import InvalidRequest, PermissionDenied
from app.domain.principal import Principal, Scope

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])


async def _id(conversation_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    """What is no id names no conversation."""
    try:
        return UUID(conversation_id)
    except ValueError:
        raise service.no_such_conversation() from None


ConversationId = Annotated[UUID, Depends(_id)]


async def _within_bounds(
    principal: Annotated[Principal, Depends(Requires(Scope.CONVERSATIONS, allow_bound=True))],
    conversation_id: ConversationId,
) -> Principal:
    """A key, or the browser token of this very conversation."""
    if principal.bound and principal.conversation_id != conversation_id:
        raise PermissionDenied("This browser token is for something else.", code="token_out_of_bounds")
    return principal


# A character takes up to twelve bytes of a URL, and the server reads no more than 64 kB of one.
_MAX_SOUGHT: Final = 4000
_POSITION: Final = r"^[0-9]{1,10}$"
Writer = Annotated[Principal, Depends(Requires(Scope.CONVERSATIONS))]
Reader = Annotated[Principal, Depends(_within_bounds)]
Text = Annotated[str | None, Query(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]


@router.post("", status_code=201, summary="Make a conversation")
async def create_conversation(
    caller: Writer,
    body: Annotated[NewConversation, Depends(body_of(Decoder(NewConversation)))],
    pool: PoolDep,
    settings: SettingsDep,
    again: IdempotencyDep,
) -> Response:
    """Make a conversation; 409 if the tenant has one with this `external_id`."""
    conversation, replayed = await service.create(pool, caller.tenant, body, again)
    location = settings.location(f"/v1/conversations/{conversation.id}")
    return _json(_conversation(conversation), 201, {"location": location, **replay_headers(replayed)})


@router.get("", summary="List or search conversations")
async def list_conversations(
    caller: Writer,
    pool: PoolDep,
    settings: SettingsDep,
    page: PageDep,
    external_id: Text = None,
    title: Annotated[Text, Query(description="Part of the title, in any case.")] = None,
    metadata: Annotated[
        str | None, Query(max_length=_MAX_SOUGHT, description="A JSON object that theirs contain.")
    ] = None,
) -> Response:
    """Conversations, newest first. A page may end early, for its size in bytes: only `next_cursor` tells the end."""
    contained = metadata_of(metadata.encode()) if metadata is not None else None
    with service.refusals_told():
        async with pool.connection() as conn:
            found = await repository.page(
                conn,
                caller.tenant,
                before=page.cursor,
                limit=page.limit,
                max_bytes=settings.max_page_bytes,
                external_id=external_id,
                title=_like(title) if title is not None else None,
                metadata=contained,
            )
    next_cursor = str(found[-1].id) if found and found[-1].more else None
    return _json(ConversationPage([_conversation(each) for each in found], next_cursor))


@router.get("/{conversation_id}", summary="Read a conversation")
async def get_conversation(caller: Reader, conversation_id: ConversationId, pool: PoolDep) -> Response:
    """One conversation, without its messages."""
    return _json(_conversation(await service.get(pool, caller.tenant, conversation_id)))


@router.patch("/{conversation_id}", summary="Change a conversation")
async def change_conversation(
    caller: Writer,
    conversation_id: ConversationId,
    body: Annotated[ConversationChange, Depends(body_of(Decoder(ConversationChange)))],
    pool: PoolDep,
) -> Response:
    """Change what is named; null clears. The next completion goes by it, one that runs does not."""
    async with pool.connection() as conn:
        conversation = await service.change(conn, caller.tenant, conversation_id, body)
    return _json(_conversation(conversation))


@router.delete("/{conversation_id}", status_code=204, summary="Delete a conversation")
async def delete_conversation(
    caller: Writer, conversation_id: ConversationId, pool: PoolDep, engine: EngineDep
) -> None:
    """Delete a conversation with its messages, its completions and their logs; 409 while one of them runs."""
    await service.delete(pool, engine.interruption, caller.tenant, conversation_id)


class MessagesPage(NamedTuple):
    """Where a list of messages starts. A cursor is the position of the last one already seen."""

    limit: int
    after: int


async def _messages_page(
    limit: Annotated[int, Query(ge=1, le=200, description="Items at the most.")] = 50,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", json_schema_extra={"pattern": _POSITION})
    ] = None,
) -> MessagesPage:
    if cursor is not None and not re.fullmatch(_POSITION, cursor):
        raise InvalidRequest("The cursor is not one that this API gave out.", code="invalid_cursor", param="cursor")
    return MessagesPage(limit, int(cursor or 0))


@router.get("/{conversation_id}/messages", summary="List messages")
async def list_messages(
    caller: Reader,
    conversation_id: ConversationId,
    pool: PoolDep,
    settings: SettingsDep,
    page: Annotated[MessagesPage, Depends(_messages_page)],
) -> Response:
    """Messages in order. A page may end early, for its size in bytes: only `next_cursor` tells the end."""
    async with pool.connection() as conn:
        if not await repository.exists(conn, caller.tenant, conversation_id):
            raise service.no_such_conversation()
        found = await repository.messages(
            conn, caller.tenant, conversation_id, after=page.after, limit=page.limit, max_bytes=settings.max_page_bytes
        )
    next_cursor = str(found[-1].position) if found and found[-1].more else None
    return _json(MessagePage([_message(each) for each in found], next_cursor))


@router.post("/{conversation_id}/messages", status_code=201, summary="Append messages")
async def append_messages(
    caller: Writer,
    conversation_id: ConversationId,
    body: Annotated[NewMessage | list[NewMessage], Depends(body_of(Decoder(NewMessages)))],
    pool: PoolDep,
    engine: EngineDep,
    again: IdempotencyDep,
) -> Response:
    """Add one message, or several at once, at the end; 409 while a completion runs."""
    new = body if isinstance(body, list) else [body]
    appended, replayed = await service.append(pool, engine.interruption, caller.tenant, conversation_id, new, again)
    return _json(MessageList([_message(each) for each in appended]), 201, replay_headers(replayed))


@router.delete("/{conversation_id}/messages/last", status_code=204, summary="Delete the last message")
async def delete_last_message(
    caller: Writer, conversation_id: ConversationId, pool: PoolDep, engine: EngineDep
) -> None:
    """Take the last message back; 404 if there is none, 409 while a completion runs."""
    await service.delete_last_message(pool, engine.interruption, caller.tenant, conversation_id)


def _like(text: str) -> str:
    """A LIKE pattern for what contains `text` itself."""
    escaped = re.sub(r"([%_\\])", r"\\\1", text)
    return f"%{escaped}%"


def _conversation(conversation: Conversation) -> ConversationOut:
    return ConversationOut(
        id=conversation.id,
        external_id=conversation.external_id,
        title=conversation.title,
        system=Raw(conversation.system) if conversation.system is not None else None,
        metadata=Raw(conversation.metadata),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
    )


def _message(message: Message) -> MessageOut:
    return MessageOut(
        id=message.id,
        position=message.position,
        role=message.role,
        content=Raw(message.content),
        completion_id=message.completion_id,
        created_at=message.created_at,
    )


def _json(body: Struct, status: int = 200, headers: dict[str, Any] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")
