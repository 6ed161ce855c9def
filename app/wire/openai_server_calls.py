"""Tools that the upstream runs itself, as items of OpenAI's Responses API: there, a call and its result are one item.

Tools that the API has no item for are left out.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.wire.openai_items import COMPLETED, Item

Block = Mapping[str, Raw]

WEB: Final = "web_search_call"
CODE: Final = "code_interpreter_call"
MCP: Final = "mcp_call"

FAILED: Final = "failed"

_TYPES: Final = {"web_search": WEB, "web_fetch": WEB, "code_execution": CODE, "bash_code_execution": CODE}


def call_type_of(block: Block) -> str | None:
    """The type of the item that a call begins."""
    match _value(block, "type"):
        case "mcp_tool_use":
            return MCP
        case "server_tool_use":
            return _TYPES.get(_string(_value(block, "name")))
    return None


def answered_by(block: Block) -> str | None:
    """The id of the call whose result a block is; the result may have come too late for its item."""
    if _string(_value(block, "type")).endswith("_tool_result"):
        return _string(_value(block, "tool_use_id"))
    return None


def call(id: str, item_type: str, status: str, block: Block) -> Item:
    """The item of a call that has no result yet."""
    item: Item = {"id": id, "type": item_type, "status": status}
    match item_type:
        case "web_search_call":
            return item | {"action": _action(block)}
        case "code_interpreter_call":
            # No container is named: the one of the upstream cannot be reached from here.
            return item | {"code": code_of(block), "container_id": "", "outputs": None}
    names = {"name": _string(_value(block, "name")), "server_label": _string(_value(block, "server_name"))}
    return item | names | {"arguments": arguments_of(block), "output": None, "error": None}


def code_of(block: Block) -> str:
    given = _input(block)
    return _string(given.get("code", given.get("command")))


def arguments_of(block: Block) -> str:
    return bytes(block.get("input", Raw(b"{}"))).decode()


def with_result(item: Item, result: Block) -> Item:
    """The item of a call that has come to its end."""
    content = _value(result, "content")
    failed = _is_error(content) or _value(result, "is_error") is True
    item = item | {"status": FAILED if failed else COMPLETED}
    match item["type"]:
        case "web_search_call" if item["action"]["type"] == "search":
            return item | {"action": item["action"] | {"sources": _sources(content)}}
        case "code_interpreter_call":
            return item | {"outputs": _outputs(content)}
        case "mcp_call" if failed:
            return item | {"error": {"type": "mcp_tool_execution_error", "content": content}}
        case "mcp_call":
            return item | {"output": _text(content)}
    return item


def _action(block: Block) -> Item:
    given = _input(block)
    if _value(block, "name") == "web_fetch":
        return {"type": "open_page", "url": _string(given.get("url"))}
    query = _string(given.get("query"))
    return {"type": "search", "query": query, "queries": [query] if query else []}


def _sources(content: Any) -> list[Item]:
    found = content if isinstance(content, list) else []
    urls = [_string(result.get("url")) for result in found if isinstance(result, dict)]
    return [{"type": "url", "url": url} for url in urls if url]


def _outputs(content: Any) -> list[Item]:
    fields = content if isinstance(content, dict) else {}
    logs = _string(fields.get("stdout")) + _string(fields.get("stderr"))
    return [{"type": "logs", "logs": logs}] if logs else []


def _text(content: Any) -> str:
    blocks = content if isinstance(content, list) else [{"text": content}]
    return "".join([_string(block.get("text")) for block in blocks if isinstance(block, dict)])


def _is_error(content: Any) -> bool:
    return isinstance(content, dict) and _string(content.get("type")).endswith("_error")


def _input(block: Block) -> dict[str, Any]:
    given = _value(block, "input")
    return given if isinstance(given, dict) else {}


def _value(block: Block, field: str) -> Any:
    json = block.get(field)
    return msgspec.json.decode(json) if json is not None else None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
