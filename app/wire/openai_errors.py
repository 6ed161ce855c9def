"""Errors in the shape of OpenAI's API, for all of its dialects."""

from typing import Final

import msgspec

from app.domain.errors import AppError

# Where the canonical status is not theirs.
_STATUSES: Final = {402: 429, 422: 400, 529: 503}
_CODES: Final = {401: "invalid_api_key", 402: "insufficient_quota", 429: "rate_limit_exceeded"}
# What says no more than the status does.
_GENERIC: Final = ("invalid_request", "validation_failed")


def status(error: AppError) -> int:
    return _STATUSES.get(error.http_status, error.http_status)


def error_body(error: AppError, request_id: str) -> bytes:
    """The body of an error; the request's id travels in a header alone."""
    body = {"message": error.message, "type": _type(error), "param": error.param, "code": _code(error)}
    return msgspec.json.encode({"error": body})


def _type(error: AppError) -> str:
    match error.http_status:
        case 402:
            return "insufficient_quota"
        case 429:
            return "rate_limit_error"
        case code if code >= 500:
            return "server_error"
    return "invalid_request_error"


def _code(error: AppError) -> str | None:
    if error.http_status in (503, 529):
        return "overloaded"
    if error.code in _GENERIC:
        return None
    return _CODES.get(error.http_status, error.code)
