"""RFC 9457 problem details: the errors of Headwater's own endpoints."""

from typing import Final

import msgspec

from app.domain.errors import AppError

MEDIA_TYPE: Final = "application/problem+json"


def status(error: AppError) -> int:
    return error.http_status


def error_body(error: AppError, request_id: str) -> bytes:
    """`type` is a relative URI that ends in the error's code; `errors` lists fields where the error is about fields."""
    body: dict[str, object] = {
        "type": f"/problems/{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.http_status,
        "detail": error.message,
        "request_id": request_id,
    }
    if error.param is not None:
        body["param"] = error.param
    return msgspec.json.encode(body)
