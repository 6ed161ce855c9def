"""An answer's content blocks as output items of OpenAI's Responses API.

Neighbouring text blocks are parts of one message item. Blocks that the API has no item for (server tools and what they
brought) are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Raw

Item = dict[str, Any]

IN_PROGRESS: Final = "in_progress"
COMPLETED: Final = "completed"
INCOMPLETE: Final = "incomplete"

# A redacted thought and the signature of a readable one travel in the same field; no signature has a colon.
REDACTED: Final = "redacted_thinking:"
REFUSED: Final = "The model refused to answer."

PREFIXES: Final = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
_KINDS: Final = {
    "text": "message",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "function_call",
}


def item_type_of(block_type: str) -> str | None:
    """The type of the item that a block belongs to."""
    return _KINDS.get(block_type)


def item_id(completion: UUID, item_type: str, index: int) -> str:
    """Says where the item is found again: the completion and the place in its output."""
    return f"{PREFIXES[item_type]}_{completion.hex}_{index}"


def completion_of(id: str) -> UUID | None:
    """The completion that an item came from, None if it is not one of ours."""
    prefix, _, rest = id.partition("_")
    hex, _, index = rest.partition("_")
    if prefix not in PREFIXES.values() or len(hex) != 32 or not index.isdigit():
        return None
    try:
        return UUID(hex)
    except ValueError:
        return None


def message(id: str, status: str, parts: Sequence[Item]) -> Item:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": list(parts)}


def reasoning(id: str, status: str, thinking: Raw | None, encrypted: Raw | str | None) -> Item:
    """`thinking` is None where none was shown."""
    summary = [] if thinking is None else [{"type": "summary_text", "text": thinking}]
    return {"id": id, "type": "reasoning", "status": status, "summary": summary, "encrypted_content": encrypted}


def function_call(id: str, status: str, call_id: str, name: str, arguments: str) -> Item:
    item: Item = {"id": id, "type": "function_call", "status": status}
    return item | {"call_id": call_id, "name": name, "arguments": arguments}


def text_part(text: Raw, annotations: Sequence[Item] = ()) -> Item:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def refusal_part(refusal: str) -> Item:
    return {"type": "refusal", "refusal": refusal}


def block_item(id: str, status: str, block: Mapping[str, Raw]) -> Item:
    """The item of a block that is one by itself."""
    match string(block.get("type")):
        case "tool_use":
            arguments = bytes(block.get("input", Raw(b"{}"))).decode()
            return function_call(id, status, string(block.get("id")), string(block.get("name")), arguments)
        case "redacted_thinking":
            return reasoning(id, status, None, REDACTED + string(block.get("data")))
    thinking = block.get("thinking")
    shown = thinking if thinking is not None and bytes(thinking) != b'""' else None
    return reasoning(id, status, shown, block.get("signature"))


def block_part(block: Mapping[str, Raw]) -> Item:
    """The part of a text block."""
    text = block.get("text", Raw(b'""'))
    citations = msgspec.json.decode(block["citations"]) if "citations" in block else None
    length = len(string(text)) if citations else 0
    return text_part(text, [annotation(citation, length) for citation in citations or ()])


def output_items(completion: UUID, blocks: Sequence[Mapping[str, Raw]], *, refused: str | None = None) -> list[Item]:
    """The output of an answer as it is stored."""
    items: list[Item] = []
    for block in blocks:
        item_type = item_type_of(string(block.get("type")))
        if item_type == "message" and items and items[-1]["type"] == "message":
            items[-1]["content"].append(block_part(block))
        elif item_type == "message":
            items.append(message(item_id(completion, item_type, len(items)), COMPLETED, [block_part(block)]))
        elif item_type is not None:
            items.append(block_item(item_id(completion, item_type, len(items)), COMPLETED, block))
    if refused is not None:
        if not items or items[-1]["type"] != "message":
            items.append(message(item_id(completion, "message", len(items)), COMPLETED, []))
        items[-1]["content"].append(refusal_part(refused))
    return items


def annotation(citation: Any, length: int) -> Item:
    """A citation of a text that is `length` characters long so far; it stands for all of that text."""
    fields = citation if isinstance(citation, dict) else {}
    url = fields.get("url") or fields.get("source")
    if isinstance(url, str):
        title = str(fields.get("title") or url)
        return {"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": length}
    number = fields.get("document_index", 0)
    name = fields.get("document_title") or f"document {number}"
    return {"type": "file_citation", "file_id": f"document-{number}", "filename": str(name), "index": length}


def string(json: Raw | None) -> str:
    """A JSON string's value, empty if it is none."""
    value = msgspec.json.decode(json) if json is not None else None
    return value if isinstance(value, str) else ""
