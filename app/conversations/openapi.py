"""The bodies of the conversations endpoints for the OpenAPI document: FastAPI does not see types of msgspec."""

from collections.abc import Mapping
from typing import Any

import msgspec


def takes(type: Any, **examples: Any) -> dict[str, Any]:
    """For a route's `openapi_extra`: its request body."""
    body: dict[str, Any] = {"schema": schema(type)}
    if examples:
        body["examples"] = {name: {"value": example} for name, example in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": body}}}


def answers(status: int, type: Any) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`."""
    return {status: {"description": "Success", "content": {"application/json": {"schema": schema(type)}}}}


def schema(type: Any) -> dict[str, Any]:
    """The JSON Schema of a type, with no references: none of ours contains itself."""
    (root,), components = msgspec.json.schema_components([type], ref_template="{name}")
    resolved: dict[str, Any] = _inline(root, components)
    return resolved


def _inline(node: Any, components: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inline(components[node["$ref"]], components)
        return {key: _inline(value, components) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(item, components) for item in node]
    return node
