"""Errors as the Messages API tells them: one exception, one body."""

from collections.abc import Mapping
from typing import Any

import msgspec

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """An answer with an error status.

    Args:
        status: HTTP status, one of KINDS.
        message: for a person to read.
        headers: sent beside `request-id`.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def invalid(message: str) -> ApiError:
    """Say that the request is wrong (400)."""
    return ApiError(400, message)


def body(error: ApiError, request_id: str) -> dict[str, Any]:
    """Return the JSON body, which inside a stream is the data of the `error` event."""
    detail = {"type": KINDS[error.status], "message": error.message}
    return {"type": "error", "error": detail, "request_id": request_id}


def encoded(error: ApiError, request_id: str) -> bytes:
    """Return the body's bytes."""
    return msgspec.json.encode(body(error, request_id))
