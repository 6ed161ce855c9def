"""An answer's content blocks as the output of a response of OpenAI's API.

Neighbouring text blocks are parts of one message item. Blocks that the API has no item for are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Raw

from app.wire.openai_items import (
    COMPLETED,
    INCOMPLETE,
    Item,
    block_item,
    block_part,
    item_id,
    message,
    refusal_part,
    string,
)
from app.wire.openai_server_calls import answered_by, call, call_type_of, with_result

_KINDS: Final = {
    "text": "message",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "function_call",
}


def item_type_of(block: Mapping[str, Raw]) -> str | None:
    """The type of the item that a block begins or goes on with."""
    return _KINDS.get(string(block.get("type"))) or call_type_of(block)


def output_items(completion: UUID, blocks: Sequence[Mapping[str, Raw]], *, refused: str | None = None) -> list[Item]:
    """The output of an answer as it is stored."""
    items: list[Item] = []
    waiting: dict[str, int] = {}  # places of calls without a result
    for block in blocks:
        item_type = item_type_of(block)
        if (answered := answered_by(block)) in waiting:
            place = waiting.pop(answered)
            items[place] = with_result(items[place], block)
        elif item_type == "message" and items and items[-1]["type"] == "message":
            items[-1]["content"].append(block_part(block))
        elif item_type is not None:
            items.append(_item(item_id(completion, item_type, len(items)), item_type, block))
            if call_type_of(block):
                waiting[string(block.get("id"))] = len(items) - 1
    if refused is not None:
        if not items or items[-1]["type"] != "message":
            items.append(message(item_id(completion, "message", len(items)), COMPLETED, []))
        items[-1]["content"].append(refusal_part(refused))
    return items


def _item(id: str, item_type: str, block: Mapping[str, Raw]) -> Item:
    """What a stored block begins; a call is incomplete until its result comes."""
    if item_type == "message":
        return message(id, COMPLETED, [block_part(block)])
    if call_type_of(block):
        return call(id, item_type, INCOMPLETE, block)
    return block_item(id, COMPLETED, block)
