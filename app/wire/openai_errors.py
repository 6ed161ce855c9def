"""Errors in OpenAI's shape: the same four keys in every body, and inside streams."""

from typing import Any, Final

import msgspec

from app.domain.errors import AppError
from app.domain.events import Error

_SERVER: Final = "server_error"
_REQUEST: Final = "invalid_request_error"

# By the kind of error in Anthropic's terms: `type`, and `code` where it is always the same.
_KINDS: Final[dict[str, tuple[str, str | None]]] = {
    "authentication_error": (_REQUEST, "invalid_api_key"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded_error": (_SERVER, "overloaded"),
    "api_error": (_SERVER, None),
    "timeout_error": (_SERVER, None),
}
# Codes that say no more than the status does.
_GENERAL: Final = ("invalid_request", "validation_failed", "upstream_refused")
# Statuses that OpenAI's clients know under another number.
_STATUSES: Final = {402: 429, 422: 400, 529: 503}
_TOO_LONG: Final = "prompt is too long"


def status(error: AppError) -> int:
    return _STATUSES.get(error.http_status, error.http_status)


def error_body(error: AppError, request_id: str) -> bytes:
    """The body of an error that is answered instead of a stream; the request's id is in the headers."""
    kind = "billing_error" if error.http_status == 402 else error.type
    return msgspec.json.encode({"error": _told(kind, error.code, error.message, error.param)})


def in_stream(event: Error) -> bytes:
    """The JSON of the chunk that tells of an `error` event."""
    error = event.error
    code = error.details.error_code if error.details is not None else None
    return msgspec.json.encode({"error": _told(error.type, code or error.type, error.message, None)})


def _told(kind: str, code: str, message: str, param: str | None) -> dict[str, Any]:
    type, fixed = _KINDS.get(kind, (_REQUEST, None))
    return {"message": message, "type": type, "param": param, "code": fixed or _code(kind, code, message)}


def _code(kind: str, code: str, message: str) -> str | None:
    if code not in _GENERAL:
        return code
    if kind == "not_found_error":
        return "model_not_found"  # it is all that an upstream could not find
    return "context_length_exceeded" if message.startswith(_TOO_LONG) else None
