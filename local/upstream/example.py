"""Values that fit a JSON schema, simply: enough for tool inputs and structured answers."""

from typing import Any

from local.upstream.schema import Json

# Deeper than this only required properties are filled in, so that a schema which contains itself comes to an end.
FULL_DEPTH = 3
MAX_DEPTH = 12

FORMATS = {
    "date": "2026-11-21",
    "date-time": "2026-11-21T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "01936f5e-0000-7000-8000-000000000000",
}


def example(schema: Json, text: str, root: Json | None = None, depth: int = 0) -> Any:
    """Return a value for a schema.

    Args:
        schema: JSON Schema; `$ref` is followed into `root`.
        text: what a string without a format says.
        root: the whole schema, when `schema` is a part of it.
        depth: how many levels of `root` lie above.
    """
    root = root or schema
    if depth > MAX_DEPTH:
        return None
    match schema:
        case {"const": value} | {"enum": [value, *_]} | {"default": value}:
            return value
        case {"$ref": str(pointer)}:
            return example(_resolve(root, pointer), text, root, depth + 1)
        case {"anyOf": [dict(first), *_]} | {"oneOf": [dict(first), *_]} | {"allOf": [dict(first), *_]}:
            return example(first, text, root, depth + 1)
        case _:
            return _of_type(schema, text, root, depth)


def _of_type(schema: Json, text: str, root: Json, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return _object(schema, text, root, depth)
        case "array":
            item = example(schema.get("items") or {}, text, root, depth + 1)
            return [item] * max(1, int(schema.get("minItems", 1)))
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return FORMATS.get(str(schema.get("format")), text)[: schema.get("maxLength")]


def _object(schema: Json, text: str, root: Json, depth: int) -> Json:
    required = schema.get("required") or ()
    properties: Json = schema.get("properties") or {}
    return {
        name: example(part, text, root, depth + 1)
        for name, part in properties.items()
        if depth < FULL_DEPTH or name in required
    }


def _resolve(root: Json, pointer: str) -> Json:
    found: Any = root
    for step in pointer.removeprefix("#/").split("/"):
        found = found.get(step, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}
