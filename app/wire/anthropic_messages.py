"""The dialect of Anthropic's Messages API: canonical events as they are, under their own names."""

from collections.abc import Sequence
from typing import Final

import msgspec

from app.domain.errors import AppError
from app.domain.events import Event

# The Messages API reference, "Errors": the kind of error for each status; the rest are `api_error`.
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicMessagesEncoder:
    """Each event is one frame with its position as `id`. Stateless."""

    def skip(self, events: Sequence[Event]) -> None:
        pass

    def encode(self, events: Sequence[Event]) -> bytes:
        return b"".join(
            [b"event: %b\nid: %d\ndata: %b\n\n" % (event.type.encode(), event.seq, event.data) for event in events]
        )


# One serves all readers.
MESSAGES: Final = AnthropicMessagesEncoder()


def status(error: AppError) -> int:
    """Their SDKs know no 422: what a field breaks is a 400 there."""
    return 400 if error.http_status == 422 else error.http_status


def error_body(error: AppError, request_id: str) -> bytes:
    """The body of an error that is answered instead of a stream."""
    kind = error.type if error.http_status >= 500 else _TYPES.get(error.http_status, error.type)
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {"type": kind, "message": error.message, "details": {"error_code": error.code}},
            "request_id": request_id,
        }
    )
