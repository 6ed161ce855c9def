"""The plain dialect: `data: {"text": …}` for the answer's text, named events for all else, `[DONE]` at its end.

A reader that joins every `text` has the answer; one that never sees `[DONE]` knows that it is not whole.
"""

from collections.abc import Sequence
from typing import Final, assert_never

import msgspec
from msgspec import Raw

from app.domain.events import (
    CitationsDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UnknownEvent,
    parse,
)

_EMPTY: Final = Raw(b'""')


class PlainEncoder:
    """Stateless: every frame follows from its event alone."""

    def skip(self, events: Sequence[Event]) -> None:
        pass

    def encode(self, events: Sequence[Event]) -> bytes:
        return b"".join([_frame(event) for event in events])


# One serves all readers.
PLAIN: Final = PlainEncoder()


def _frame(event: Event) -> bytes:
    body = parse(event.data)
    match body:
        case ContentBlockDelta():
            delta = body.delta
            if isinstance(delta, TextDelta):
                return b'id: %d\ndata: {"text": %b}\n\n' % (event.seq, bytes(delta.text))
            return _delta(event.seq, body.index, delta)
        case MessageStart():
            message = body.message
            return _named(event.seq, b"start", {"id": message.id, "model": message.model, "usage": message.usage})
        case ContentBlockStart():
            return _block(event.seq, body)
        case MessageDelta():
            return _named(event.seq, b"usage", {"stop_reason": body.delta.stop_reason, "usage": body.usage})
        case MessageStop():
            return b"id: %d\ndata: [DONE]\n\n" % event.seq
        case Error():
            code = body.error.details.error_code if body.error.details else None
            error = {"type": body.error.type, "code": code or body.error.type, "message": body.error.message}
            return _named(event.seq, b"error", {"error": error})
        case UnknownEvent():
            return _named(event.seq, b"event", {"event": Raw(event.data)})
        case ContentBlockStop() | Ping():
            return b""
    assert_never(body)


def _delta(seq: int, index: int, delta: ThinkingDelta | InputJsonDelta | CitationsDelta | SignatureDelta) -> bytes:
    match delta:
        case ThinkingDelta(thinking=thinking):
            return _thinking(seq, thinking)
        case InputJsonDelta(partial_json=partial_json):
            return _named(seq, b"tool_input", {"index": index, "partial_json": partial_json})
        case CitationsDelta(citation=citation):
            return _named(seq, b"citation", {"index": index, "citation": citation})
        case SignatureDelta(signature=signature):
            return _named(seq, b"signature", {"index": index, "signature": signature})
    assert_never(delta)


def _text(seq: int, text: Raw) -> bytes:
    return b'id: %d\ndata: {"text": %b}\n\n' % (seq, bytes(text))


def _thinking(seq: int, thinking: Raw) -> bytes:
    return b'id: %d\nevent: thinking\ndata: {"thinking": %b}\n\n' % (seq, bytes(thinking))


def _block(seq: int, body: ContentBlockStart) -> bytes:
    """Text and thinking say no more by starting than what they start with; any other block is told as it starts."""
    fields = msgspec.json.decode(body.content_block, type=dict[str, Raw])
    match bytes(fields["type"]):
        case b'"text"':
            text = fields.get("text", _EMPTY)
            return _text(seq, text) if bytes(text) != bytes(_EMPTY) else b""
        case b'"thinking"':
            thinking = fields.get("thinking", _EMPTY)
            return _thinking(seq, thinking) if bytes(thinking) != bytes(_EMPTY) else b""
    return _named(seq, b"content_block", {"index": body.index, "content_block": body.content_block})


def _named(seq: int, name: bytes, data: dict[str, object]) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, name, msgspec.json.encode(data))
