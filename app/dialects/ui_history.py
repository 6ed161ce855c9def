"""What a chat's next answer is an answer to: the store holds its history, the client says what is new."""

from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Raw

from app.completions.repository import Connection
from app.config import Settings
from app.conversations import chats
from app.conversations.chats import Chat, Turn
from app.dialects.ui_request import ChatRequest, answers_to, content_of
from app.domain.completion import CompletionRequest, NewMessage
from app.domain.errors import InvalidRequest, NotFound
from app.domain.principal import Tenant
from app.wire.ui_message import Step

# Where a completion keeps how its client calls the question, and the answer that it goes on with.
QUESTION: Final = "ui_message_id"
ANSWER: Final = "ui_answer_id"

# Messages of one turn: a question, and rounds of tool calls and their results.
_TURN_AT_MOST: Final = 400


def no_such_chat() -> NotFound:
    return NotFound("There is no such chat.")


async def prepare(
    conn: Connection,
    id: UUID,
    tenant: Tenant,
    asked: ChatRequest,
    body: dict[str, Any],
    settings: Settings,
    *,
    create: bool,
) -> CompletionRequest:
    """The request for the next answer, which will be the completion `id`.

    The transaction keeps what is changed here only if it is admitted.

    Raises:
        NotFound: there is no such chat, and none may be made.
        InvalidRequest: there is nothing to answer.
        Unprocessable: the message cannot be sent on.
    """
    chat = await chats.lock(conn, tenant, asked.id, create=create)
    if chat is None:
        raise no_such_chat()
    if chat.system is None and settings.chat_system is not None:
        body = {"system": settings.chat_system, **body}
    request = CompletionRequest(body=body, messages=[], conversation_id=chat.id)
    if chat.running is not None:
        return request  # whatever it is, admission says that it has to wait
    messages = await _new_messages(conn, id, tenant, chat, asked)
    return msgspec.structs.replace(request, messages=messages, metadata=_names(asked, messages))


def _names(asked: ChatRequest, messages: list[NewMessage]) -> dict[str, Any]:
    if asked.continues:
        return {ANSWER: asked.continues}
    return {QUESTION: asked.last.id} if messages and asked.last is not None and asked.last.id else {}


async def _new_messages(conn: Connection, id: UUID, tenant: Tenant, chat: Chat, asked: ChatRequest) -> list[NewMessage]:
    """What to append to the store's history, which is cut first where the client goes back."""
    last = asked.last
    if asked.regenerate and (position := await _answer_to_drop(conn, tenant, chat, asked)) is not None:
        await chats.cut(conn, tenant, chat.id, position, id)
        last = None
    elif (position := await _edited_question(conn, tenant, chat, asked)) is not None:
        await chats.cut(conn, tenant, chat.id, position, id)
    tail = next(iter(await chats.last_turns(conn, tenant, chat.id, 1)), None)
    pending, outputs = _pending(tail), asked.tool_outputs()
    if last is not None and last.role == "user":
        return [_message([*answers_to(pending, outputs), *content_of(last)])]
    if any(id in outputs for id in pending):
        return [_message(answers_to(pending, outputs))]
    if tail is None or tail.role != "user":
        raise InvalidRequest("There is nothing to answer in this chat.", code="nothing_to_answer")
    return []


async def _edited_question(conn: Connection, tenant: Tenant, chat: Chat, asked: ChatRequest) -> int | None:
    """Where the question stands whose words the client has changed; None if what it says is new."""
    if asked.last is None or asked.last.role != "user" or not asked.message_id or asked.message_id != asked.last.id:
        return None
    return await chats.question_position(conn, tenant, chat.id, asked.message_id)


async def _answer_to_drop(conn: Connection, tenant: Tenant, chat: Chat, asked: ChatRequest) -> int | None:
    """Where the answer begins that is to be given anew; None where its question has yet to be stored."""
    last = asked.last if asked.last is not None and asked.last.role == "user" else None
    if asked.message_id and (at := await chats.answer_position(conn, tenant, chat.id, asked.message_id)) is not None:
        return at
    for name in (asked.message_id, last.id if last else None):
        if name and (at := await chats.question_position(conn, tenant, chat.id, name)) is not None:
            return at + 1
    question = next(filter(_is_question, await chats.last_turns(conn, tenant, chat.id, _TURN_AT_MOST)), None)
    if question is None or (last is not None and _blocks(question) != content_of(last)):
        return None
    return question.position + 1


async def earlier_steps(conn: Connection, tenant: Tenant, chat: Chat) -> list[Step]:
    """The answers since the chat's last question that called tools of the client's, with the results."""
    turns: list[Turn] = []
    for turn in await chats.last_turns(conn, tenant, chat.id, _TURN_AT_MOST):
        if _is_question(turn):
            break
        turns.insert(0, turn)
    return [
        Step(answer.content, results.content, str(answer.completion_id or ""))
        for answer, results in pairwise(turns)
        if answer.role == "assistant" and results.role == "user"
    ]


def _message(blocks: list[dict[str, Any]]) -> NewMessage:
    return NewMessage("user", Raw(msgspec.json.encode(blocks)))


def _pending(tail: Turn | None) -> list[str]:
    """The calls that wait for the client's results."""
    if tail is None or tail.role != "assistant":
        return []
    return [str(block["id"]) for block in _blocks(tail) if block.get("type") == "tool_use" and "id" in block]


def _is_question(turn: Turn) -> bool:
    return turn.role == "user" and any(block.get("type") != "tool_result" for block in _blocks(turn))


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    content: Any = msgspec.json.decode(turn.content)
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
