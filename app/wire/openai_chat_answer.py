"""A whole answer as Chat Completions gives it without streaming."""

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from app.domain.ids import made_at
from app.domain.message import MessageFold
from app.wire.openai_chat import completion_id
from app.wire.openai_parts import Annotations, Block, Usage, block_of, finish_reason, refusal


def chat_completion(id: UUID, fold: MessageFold, *, reasoning: bool = False) -> bytes:
    """The body. `reasoning` lets thoughts out, as `reasoning_content`."""
    blocks = [block_of(block) for block in msgspec.json.decode(fold.content(), type=list[Raw])]
    choice = {
        "index": 0,
        "message": _message(blocks, refusal(fold.stop_details), reasoning=reasoning),
        "finish_reason": finish_reason(fold.stop_reason),
        "logprobs": None,
    }
    return msgspec.json.encode(
        {
            "id": completion_id(id),
            "object": "chat.completion",
            "created": made_at(id),
            "model": fold.model,
            "choices": [choice],
            "usage": Usage.of(fold.usage()).told(),
        }
    )


def _message(blocks: list[Block], refused: str | None, *, reasoning: bool) -> dict[str, Any]:
    """The assistant's message; strings of the answer stay as they came."""
    texts = [block.text for block in blocks if block.type == "text"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _joined(texts) if texts else None,
        "refusal": refused,
    }
    if reasoning and (thoughts := [block.thinking for block in blocks if block.type == "thinking"]):
        message["reasoning_content"] = _joined(thoughts)
    if calls := [block.call(block.arguments()) for block in blocks if block.type == "tool_use"]:
        message["tool_calls"] = calls
    if annotations := _annotations(blocks):
        message["annotations"] = annotations
    return message


def _joined(strings: list[Raw]) -> Raw:
    return Raw(b'"%b"' % b"".join([bytes(string)[1:-1] for string in strings]))


def _annotations(blocks: list[Block]) -> list[dict[str, Any]]:
    annotations, found = Annotations(), []
    for block in blocks:
        if block.type == "text":
            annotations.begin()
            annotations.grow(block.text)
            for citation in block.citations or ():
                annotations.cite(citation)
            found += annotations.end()
    return found
