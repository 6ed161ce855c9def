"""Messages of a Chat Completions request as a system prompt and messages of the Messages API."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from app.completions.body import object_of
from app.dialects.chat_parts import Part, TextPart, block, texts
from app.domain.completion import NewMessage
from app.domain.errors import InvalidRequest

Json = dict[str, Any]


class SystemMessage(msgspec.Struct, frozen=True, tag_field="role", tag="system"):
    content: str | list[TextPart]


class DeveloperMessage(msgspec.Struct, frozen=True, tag_field="role", tag="developer"):
    content: str | list[TextPart]


class UserMessage(msgspec.Struct, frozen=True, tag_field="role", tag="user"):
    content: str | list[Part]


class FunctionCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class AssistantMessage(msgspec.Struct, frozen=True, tag_field="role", tag="assistant"):
    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(msgspec.Struct, frozen=True, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[Part]


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def conversation(messages: Sequence[Message], *, fetches_urls: bool) -> tuple[list[str], list[NewMessage]]:
    """The system prompts in order, wherever they stood, and the turns: neighbours of one role are one turn.

    Raises:
        InvalidRequest: something in them has no counterpart, or nothing is left of them.
    """
    system: list[str] = []
    turns: list[tuple[str, list[Json]]] = []
    for position, message in enumerate(messages):
        at = f"messages[{position}]"
        match message:
            case SystemMessage() | DeveloperMessage():
                system += texts(message.content)
            case UserMessage():
                _add(turns, "user", _blocks(message.content, f"{at}.content", fetches_urls=fetches_urls))
            case AssistantMessage():
                _add(turns, "assistant", list(_said(message, at, fetches_urls=fetches_urls)))
            case ToolMessage():
                _add(turns, "user", [_result(message, at, fetches_urls=fetches_urls)])
    if not turns:
        raise InvalidRequest("messages: There is nothing to answer in them.", param="messages")
    return system, [NewMessage(role, Raw(msgspec.json.encode(_in_order(blocks)))) for role, blocks in turns]


def _add(turns: list[tuple[str, list[Json]]], role: str, blocks: list[Json]) -> None:
    """Add to the last turn if it is the same one's. A message without content says nothing."""
    if not blocks:
        return
    if turns and turns[-1][0] == role:
        turns[-1][1].extend(blocks)
    else:
        turns.append((role, blocks))


def _in_order(blocks: list[Json]) -> list[Json]:
    """The results of tools come first in a turn, or the upstream refuses it."""
    return sorted(blocks, key=lambda told: told["type"] != "tool_result")


def _blocks(content: str | list[Part], at: str, *, fetches_urls: bool) -> list[Json]:
    """The upstream takes no empty text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    told = (block(part, f"{at}[{position}]", fetches_urls=fetches_urls) for position, part in enumerate(content))
    return [found for found in told if found is not None]


def _said(message: AssistantMessage, at: str, *, fetches_urls: bool) -> Iterator[Json]:
    yield from _blocks(message.content or message.refusal or "", f"{at}.content", fetches_urls=fetches_urls)
    for position, call in enumerate(message.tool_calls or ()):
        place = f"{at}.tool_calls[{position}].function.arguments"
        yield {
            "type": "tool_use",
            "id": call.id,
            "name": call.function.name,
            "input": _input(call.function.arguments, place),
        }


def _input(arguments: str, at: str) -> Raw:
    """The arguments as the model wrote them: decoding and encoding would change numbers."""
    raw = arguments.encode() if arguments.strip() else b"{}"
    try:
        object_of(raw, at)
    except InvalidRequest as exc:
        raise InvalidRequest(exc.message, param=at) from None
    return Raw(raw)


def _result(message: ToolMessage, at: str, *, fetches_urls: bool) -> Json:
    result: Json = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    if content := _blocks(message.content, f"{at}.content", fetches_urls=fetches_urls):
        result["content"] = content
    return result
