"""Canonical events: what a log holds, and what is inside one.

A canonical event is one event of Anthropic's Messages stream (the Messages API reference, "Streaming messages").
`Event` keeps its JSON bytes as they came and its position; `parse` looks inside. Strings that are only passed on stay
`Raw`: their JSON escapes reach the client and the store exactly as the upstream sent them.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

NULL: Final = Raw(b"null")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One entry of a log: `seq` is its position (1, 2, 3, …), `type` its name, `data` its JSON on one line."""

    seq: int
    type: str
    data: bytes


class TextDelta(msgspec.Struct, frozen=True, gc=False, tag="text_delta"):
    text: Raw


class ThinkingDelta(msgspec.Struct, frozen=True, gc=False, tag="thinking_delta"):
    thinking: Raw


class SignatureDelta(msgspec.Struct, frozen=True, gc=False, tag="signature_delta"):
    signature: Raw


class InputJsonDelta(msgspec.Struct, frozen=True, gc=False, tag="input_json_delta"):
    partial_json: str


class CitationsDelta(msgspec.Struct, frozen=True, gc=False, tag="citations_delta"):
    citation: Raw


Delta = TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta | CitationsDelta


class Message(msgspec.Struct, frozen=True):
    """The head of the answer; its other keys are of no use before the end."""

    id: str = ""
    model: str = ""
    usage: dict[str, Raw] = {}


class MessageStart(msgspec.Struct, frozen=True, tag="message_start"):
    message: Message


class ContentBlockStart(msgspec.Struct, frozen=True, tag="content_block_start"):
    index: int
    content_block: Raw


class ContentBlockDelta(msgspec.Struct, frozen=True, gc=False, tag="content_block_delta"):
    index: int
    delta: Delta


class ContentBlockStop(msgspec.Struct, frozen=True, gc=False, tag="content_block_stop"):
    index: int


class Stop(msgspec.Struct, frozen=True):
    """`stop_details` is `null` where there are none: a union with Raw would take no object."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = NULL


class MessageDelta(msgspec.Struct, frozen=True, tag="message_delta"):
    """`usage` holds cumulative totals: they overwrite what `message_start` said."""

    delta: Stop
    usage: dict[str, Raw] = {}


class MessageStop(msgspec.Struct, frozen=True, gc=False, tag="message_stop"):
    pass


class Ping(msgspec.Struct, frozen=True, gc=False, tag="ping"):
    pass


class ErrorDetails(msgspec.Struct, frozen=True):
    error_code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    type: str
    message: str = ""
    details: ErrorDetails | None = None


class Error(msgspec.Struct, frozen=True, tag="error"):
    """The other end of a log. `error.details.error_code` says which of Headwater's own ends it was, if any."""

    error: ErrorBody


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event, or a kind of delta, that this version does not know: passed on where a dialect can, else skipped."""

    type: str


KnownEvent = (
    MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageDelta | MessageStop | Ping | Error
)
Body = KnownEvent | UnknownEvent

_KNOWN: Final[msgspec.json.Decoder[KnownEvent]] = msgspec.json.Decoder(KnownEvent)
_UNKNOWN: Final = msgspec.json.Decoder(UnknownEvent)
_NAMES: Final = {
    MessageStart: "message_start",
    ContentBlockStart: "content_block_start",
    ContentBlockDelta: "content_block_delta",
    ContentBlockStop: "content_block_stop",
    MessageDelta: "message_delta",
    MessageStop: "message_stop",
    Ping: "ping",
    Error: "error",
}


def parse(data: bytes) -> Body:
    """Look inside one event's JSON.

    Raises:
        msgspec.DecodeError: `data` is no JSON.
        msgspec.ValidationError: `data` is JSON without a `type`.
    """
    try:
        return _KNOWN.decode(data)
    except msgspec.ValidationError:
        return _unknown(data)


def read(data: bytes) -> tuple[bytes, Body]:
    """What came from outside as it goes into a log, and what is inside: `parse` of the `well_formed`, in one call.

    Raises:
        UnicodeDecodeError, msgspec.MsgspecError: as those two do.
    """
    if not data.isascii() or b"\\ud" in data or b"\\uD" in data:
        data = well_formed(data)
    try:
        return data, _KNOWN.decode(data)
    except msgspec.ValidationError:
        return data, _unknown(data)


def _unknown(data: bytes) -> Error | UnknownEvent:
    """An error in an unknown form is still the end."""
    unknown = _UNKNOWN.decode(data)
    return Error(ErrorBody("api_error")) if unknown.type == "error" else unknown


# An escaped backslash is taken whole, so that the `u` after it is not read as an escape of its own; then a proper
# pair, which stays; then any surrogate that is left over.
_SURROGATES: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def well_formed(data: bytes) -> bytes:
    """JSON whose strings are all valid Unicode: an escaped surrogate without its other half becomes U+FFFD.

    Raises:
        UnicodeDecodeError: `data` is not UTF-8.
    """
    if not data.isascii():
        data.decode()
    if b"\\ud" in data or b"\\uD" in data:
        return _SURROGATES.sub(lambda match: b"\\ufffd" if len(match[0]) == 6 else match[0], data)
    return data


def name(body: Body) -> str:
    """The event's `type`."""
    return body.type if isinstance(body, UnknownEvent) else _NAMES[type(body)]


def error_event(*, type: str, message: str, code: str, request_id: str | None = None) -> bytes:
    """The JSON of an `error` event of our own: `type` is one of Anthropic's, `code` says what happened here."""
    body: dict[str, object] = {
        "type": "error",
        "error": {"type": type, "message": message, "details": {"error_code": code}},
    }
    if request_id is not None:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def join(events: Sequence[Event]) -> bytes:
    """The stored form of neighbouring events: their JSON, one line each (an event's JSON has no line ends)."""
    return b"\n".join([event.data for event in events])


def split(lines: bytes, first_seq: int) -> list[Event]:
    """The events of `join`, the first of them at position `first_seq`."""
    datas = lines.split(b"\n")
    return [Event(seq, _UNKNOWN.decode(data).type, data) for seq, data in enumerate(datas, first_seq)]
