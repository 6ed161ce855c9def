"""The endpoints that the AI SDK's `useChat` calls with its default settings.

A chat is the conversation whose `external_id` is the chat's id. The answers' frames are those of `wire/ui_message.py`.
"""

import asyncio
from contextlib import suppress
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from app.completions.body import json_object
from app.completions.repository import Connection
from app.completions.responses import event_stream, headers
from app.completions.service import Completions, CompletionsDep
from app.conversations import chats
from app.conversations.chats import Chat
from app.dependencies import IdempotencyDep, PoolDep, Requires, SettingsDep
from app.dialects import ui_history
from app.dialects.ui_request import body_of, chat_request
from app.domain.completion import CompletionRequest, Status
from app.domain.errors import Gone
from app.domain.principal import Principal, Scope
from app.wire import limit_headers
from app.wire.ui_message import HEADERS, UiMessageEncoder

router = APIRouter(prefix="/api/chat", tags=["AI SDK"])

# Another instance looks once a second whether it is to stop something, and then has to commit.
_STOP_WAIT: Final = 3.0
_STOP_POLL: Final = 0.1


async def _caller(
    principal: Annotated[Principal, Depends(Requires(Scope.COMPLETIONS, allow_bound=True))],
    _: Annotated[Principal, Depends(Requires(Scope.CONVERSATIONS, allow_bound=True))],
) -> Principal:
    """A key, or the browser token of the chat's conversation."""
    return principal


Caller = Annotated[Principal, Depends(_caller)]
ChatId = Annotated[str, Path(alias="chat_id", description="The chat's id, as in the body of `POST /api/chat`.")]


@router.post("", summary="Send a message, or ask for another answer")
async def send(
    request: Request, caller: Caller, completions: CompletionsDep, settings: SettingsDep, again: IdempotencyDep
) -> Response:
    """Answers with the UI message stream.

    `messages` may be the whole chat or its last message alone: the history is what Headwater has stored. The body may
    also hold `model`, `system`, `max_tokens`, `tools` and other fields of the Messages API.
    """
    decoded, _ = await json_object(request)
    asked = chat_request(decoded)
    body = body_of(decoded, asked, settings)

    async def prepare(conn: Connection, id: UUID) -> CompletionRequest:
        return await ui_history.prepare(conn, id, caller.tenant, asked, body, settings, create=not caller.bound)

    answer = await completions.create_prepared(caller, again, prepare)
    return event_stream(
        answer.reading(),
        UiMessageEncoder(answer.id, message_id=asked.continues),
        settings,
        headers={**headers(answer, settings, limit_headers.native), **HEADERS},
    )


@router.get("/{chat_id:path}/stream", summary="Read on in the answer that is being written")
async def resume(
    id: ChatId, caller: Caller, completions: CompletionsDep, pool: PoolDep, settings: SettingsDep
) -> Response:
    """All of it again from its start; 204 if nothing is being written."""
    chat = await _find(pool, caller, id)
    if chat is None or chat.running is None:
        return Response(status_code=204)
    row = await completions.get(caller, chat.running)
    if row.status != Status.STREAMING or row.cancel_requested_at is not None:
        return Response(status_code=204)
    async with pool.connection() as conn:
        steps = await ui_history.earlier_steps(conn, caller.tenant, chat)
    try:
        source = await completions.log(caller, chat.running, 0)
    except Gone:
        source = None
    if source is None:
        return Response(status_code=204)
    continued = row.metadata.get(ui_history.ANSWER) if steps else None
    encoder = UiMessageEncoder(chat.running, message_id=continued, before=steps)
    return event_stream(source, encoder, settings, headers={"x-completion-id": str(chat.running), **HEADERS})


@router.post("/{chat_id:path}/stop", status_code=204, summary="Stop the answer that is being written")
async def stop(id: ChatId, caller: Caller, completions: CompletionsDep, pool: PoolDep) -> Response:
    """It ends within seconds wherever it is written; what is there of it stays. Closing the stream does not stop it."""
    chat = await _find(pool, caller, id)
    if chat is not None and chat.running is not None:
        await _stop(completions, caller, chat.running)
    return Response(status_code=204)


async def _stop(completions: Completions, caller: Principal, running: UUID) -> None:
    row = await completions.cancel(caller, running)
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_WAIT):
            while row.status == Status.STREAMING:
                await asyncio.sleep(_STOP_POLL)
                row = await completions.get(caller, running)


async def _find(pool: PoolDep, caller: Principal, id: str) -> Chat | None:
    """The caller's chat of this id; None if there is none.

    Raises:
        NotFound: a browser token asks for another chat than its own.
    """
    async with pool.connection() as conn:
        chat = await chats.find(conn, caller.tenant, id) if "\0" not in id else None
    if caller.bound and (chat is None or chat.id != caller.conversation_id):
        raise ui_history.no_such_chat()
    return chat
