"""Reading the JSON body of a request that is kept as it came."""

from typing import Any

import msgspec
from fastapi import Request

from app.domain.errors import InvalidRequest


async def json_object(request: Request) -> tuple[dict[str, Any], bytes]:
    """The body as an object, and its bytes.

    Raises:
        InvalidRequest: it is empty, no JSON in UTF-8, or not an object.
        RequestTooLarge: it is longer than the limit.
    """
    raw = await request.body()
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(f"The body is not valid JSON: {exc}", code="invalid_json") from None
    if not isinstance(decoded, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return decoded, raw
