"""Canonical events and errors in the dialect of Anthropic's Messages API."""

from typing import Final

import msgspec
import pytest

from app.domain.errors import (
    AppError,
    Conflict,
    Gone,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UpstreamError,
)
from app.domain.events import Event
from app.wire import anthropic_messages
from app.wire.anthropic_messages import AnthropicMessagesEncoder

DATA: Final = [
    b'{"type":"ping"}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"🙂 \u2028 \u0085 e\u0301"}}'.encode(),
    rb'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\r\n\n\ndata: \ud83d\ude42"}}',
    b'{ "type" : "future_event", "number": 1.50, "large": 123456789012345678901234567890 }',
    b'{"type":"error","error":{"type":"overloaded_error","message":"Busy."},"request_id":"req_1"}',
]


@pytest.mark.parametrize("data", DATA)
def test_one_event_to_the_byte(data: bytes) -> None:
    name = msgspec.json.decode(data)["type"]
    frame = AnthropicMessagesEncoder().encode([Event(42, name, data)])
    assert frame == b"event: %b\nid: 42\ndata: %b\n\n" % (name.encode(), data)
    assert frame.count(b"\n") == 4
    assert b"\r" not in frame


def test_a_batch_is_its_events_in_order() -> None:
    events = [Event(seq, "any", data) for seq, data in enumerate(DATA, 1)]
    single = b"".join(AnthropicMessagesEncoder().encode([event]) for event in events)
    resumed = AnthropicMessagesEncoder()
    resumed.skip(events[:2])
    assert AnthropicMessagesEncoder().encode(events) == single
    assert AnthropicMessagesEncoder().encode(events[:2]) + resumed.encode(events[2:]) == single
    assert AnthropicMessagesEncoder().encode([]) == b""


@pytest.mark.parametrize(
    ("error", "status", "type", "code"),
    [
        (InvalidRequest("a"), 400, "invalid_request_error", "invalid_request"),
        (Unprocessable("a"), 400, "invalid_request_error", "validation_failed"),
        (Unauthenticated("a"), 401, "authentication_error", "invalid_api_key"),
        (PermissionDenied("a"), 403, "permission_error", "permission_denied"),
        (NotFound("a"), 404, "not_found_error", "not_found"),
        (MethodNotAllowed("a"), 405, "invalid_request_error", "method_not_allowed"),
        (Conflict("a", code="conversation_busy"), 409, "conflict_error", "conversation_busy"),
        (Gone("a"), 410, "invalid_request_error", "gone"),
        (RequestTooLarge("a"), 413, "request_too_large", "request_too_large"),
        (Unavailable("a"), 503, "overloaded_error", "unavailable"),
        (UpstreamError("a"), 502, "api_error", "upstream_error"),
        (UpstreamError("a", http_status=429, type="rate_limit_error"), 429, "rate_limit_error", "upstream_error"),
        (UpstreamError("a", http_status=504, type="timeout_error"), 504, "timeout_error", "upstream_error"),
        (UpstreamError("a", http_status=529, type="overloaded_error"), 529, "overloaded_error", "upstream_error"),
        (AppError("a"), 500, "api_error", "internal_error"),
    ],
)
def test_errors(error: AppError, status: int, type: str, code: str) -> None:
    assert anthropic_messages.status(error) == status
    assert msgspec.json.decode(anthropic_messages.error_body(error, "req_1")) == {
        "type": "error",
        "error": {"type": type, "message": "a", "details": {"error_code": code}},
        "request_id": "req_1",
    }
