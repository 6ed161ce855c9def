"""Parts of a request that change its price or reach things that other tenants may share: only for keys that may."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.domain.errors import PermissionDenied
from app.domain.principal import Principal

FIELDS: Final = ("service_tier", "speed", "inference_geo", "container", "mcp_servers")
SERVER_TOOLS: Final = "server_tools"
FILE_IDS: Final = "file_ids"

# Tools that the caller runs itself, although Anthropic defines them. Any other type may run on the upstream.
_CALLERS_TOOLS: Final = ("custom", "bash_", "text_editor_", "computer_", "memory_")


def check(principal: Principal, body: Mapping[str, Any], messages: Sequence[Any]) -> None:
    """
    Raises:
        PermissionDenied: the request uses something that the key's settings do not allow.
    """
    for used in _used(body, messages):
        if used not in principal.allowed:
            raise PermissionDenied(f"This key may not use `{used}`.", code="not_allowed_for_key", param=used)


def _used(body: Mapping[str, Any], messages: Sequence[Any]) -> Iterator[str]:
    yield from (field for field in FIELDS if body.get(field) is not None)
    if server_tools(body):
        yield SERVER_TOOLS
    if _names_a_file([*messages, body.get("system")]):
        yield FILE_IDS


def server_tools(body: Mapping[str, Any]) -> list[str]:
    """The types of the tools that may run on the upstream."""
    tools = body.get("tools")
    kinds = [tool.get("type") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [str(kind) for kind in kinds if kind is not None and not str(kind).startswith(_CALLERS_TOOLS)]


def _names_a_file(parts: list[Any]) -> bool:
    """At any depth; without recursion, because a conversation's history may be nested deeper than a request."""
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if "file_id" in part:
                return True
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)
    return False


def without_tokens(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as it may be stored: the tokens that MCP servers are called with are not ours to keep."""
    if "mcp_servers" not in body:
        return dict(body)
    servers = body["mcp_servers"] if isinstance(body["mcp_servers"], list) else []
    kept = [
        {k: v for k, v in server.items() if k != "authorization_token"}
        for server in servers
        if isinstance(server, dict)
    ]
    return {**body, "mcp_servers": kept}
