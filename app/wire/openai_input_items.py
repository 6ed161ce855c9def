"""Stored messages as input items of OpenAI's Responses API: what `responses_input` in the dialect takes, given back.

Other dialects store messages that nobody has checked: what has no counterpart is left out.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from app.domain.completion import NewMessage
from app.wire.openai_items import INCOMPLETE, REDACTED, Item
from app.wire.openai_server_calls import answered_by, call, call_type_of, with_result


def input_items(completion: UUID, messages: Sequence[NewMessage]) -> list[Item]:
    """All items, in order, with ids that stay the same."""
    items = [item for message in messages for item in _items(message.role, msgspec.json.decode(message.content))]
    return [item | {"id": f"in_{completion.hex}_{index}"} for index, item in enumerate(items)]


def _items(role: str, content: Any) -> Iterator[Item]:
    """Blocks that are items of their own stand where they stood between the message's parts."""
    parts: list[Item] = []
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else _objects(content)
    for block in blocks:
        if item := _item(block) or _call(block, blocks):
            yield from _message(role, parts)
            parts = []
            yield item
        elif part := _part(role, block):
            parts.append(part)
    yield from _message(role, parts)


def _message(role: str, parts: list[Item]) -> Iterator[Item]:
    if parts:
        role = "developer" if role == "system" else role
        yield {"type": "message", "role": role, "status": "completed", "content": parts}


def _item(block: Item) -> Item | None:
    match block:
        case {"type": "tool_use", "id": id, "name": name}:
            arguments = msgspec.json.encode(block.get("input", {})).decode()
            return {
                "type": "function_call",
                "call_id": id,
                "name": name,
                "arguments": arguments,
                "status": "completed",
            }
        case {"type": "tool_result", "tool_use_id": id}:
            return {"type": "function_call_output", "call_id": id, "output": _output(block.get("content", ""))}
        case {"type": "thinking", "thinking": thinking}:
            summary = [{"type": "summary_text", "text": thinking}] if thinking else []
            return {"type": "reasoning", "summary": summary, "encrypted_content": block.get("signature")}
        case {"type": "redacted_thinking", "data": str(data)}:
            return {"type": "reasoning", "summary": [], "encrypted_content": REDACTED + data}
    return None


def _call(block: Item, blocks: Sequence[Item]) -> Item | None:
    """A call of a tool that the upstream ran, with its result if that is among `blocks`."""
    fields = _raw(block)
    item_type = call_type_of(fields)
    if item_type is None:
        return None
    item = call("", item_type, INCOMPLETE, fields)
    results = [result for each in blocks if answered_by(result := _raw(each)) == block.get("id")]
    return with_result(item, results[0]) if results else item


def _raw(block: Item) -> dict[str, Raw]:
    return msgspec.json.decode(msgspec.json.encode(block), type=dict[str, Raw])


def _output(content: Any) -> str | list[Item]:
    if isinstance(content, str):
        return content
    return [part for block in _objects(content) if (part := _part("user", block))]


def _part(role: str, block: Item) -> Item | None:
    match block:
        case {"type": "text", "text": text} if role == "assistant":
            return {"type": "output_text", "text": text, "annotations": []}
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}:
            return {"type": "input_image", "detail": "auto", "image_url": f"data:{media_type};base64,{data}"}
        case {"type": "image", "source": {"type": "url", "url": url}}:
            return {"type": "input_image", "detail": "auto", "image_url": url}
        case {"type": "document", "source": source}:
            return {"type": "input_file", "filename": block.get("title"), **_file(source)}
    return None


def _file(source: Any) -> Item:
    match source:
        case {"type": "base64", "media_type": media_type, "data": data}:
            return {"file_data": f"data:{media_type};base64,{data}"}
        case {"type": "url", "url": url}:
            return {"file_url": url}
        case {"type": "text", "data": text}:
            return {"file_data": text}
    return {}


def _objects(content: Any) -> list[Item]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
