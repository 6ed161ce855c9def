"""Output items of OpenAI's Responses API and their parts, each made from a content block."""

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

PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "web_search_call": "ws",
    "code_interpreter_call": "ci",
    "mcp_call": "mcp",
}


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
