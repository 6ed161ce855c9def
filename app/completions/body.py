"""Reading the JSON body of a request that is kept as it came."""

from itertools import chain
from typing import Any, Final

import msgspec
from fastapi import Request

from app.domain.errors import InvalidRequest

# Deeper than any request needs, and far from where encoders and recursions of ours and of the SDK give up.
MAX_DEPTH: Final = 100


async def json_object(request: Request) -> tuple[dict[str, Any], bytes]:
    """The body as an object, and its bytes.

    Raises:
        InvalidRequest: it is empty, no JSON in UTF-8, not an object, or too deep.
        RequestTooLarge: it is longer than the limit.
    """
    raw = await request.body()
    return object_of(raw, "The body"), raw


def object_of(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; errors call it `what`.

    Raises:
        InvalidRequest: it is empty, no JSON in UTF-8, not an object, or too deep.
    """
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _invalid(f"{what} is not valid JSON: {exc}") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(decoded, dict):
        raise _invalid(f"{what} must be a JSON object.")
    if _is_deep(decoded):
        raise _too_deep()
    return decoded


def _is_deep(value: dict[str, Any]) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        children = chain.from_iterable(node.values() if isinstance(node, dict) else node for node in level)
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _too_deep() -> InvalidRequest:
    return _invalid("The JSON is nested too deeply.")


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json")
