"""From an upstream's bytes to the JSON of events. A decoder takes what one network read brought."""

import base64
import re
from typing import Final, Protocol

import msgspec

from app.domain.events import error_event

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class Decoder(Protocol):
    def feed(self, chunk: bytes) -> list[bytes]:
        """The JSON of the events that `chunk` completes, each on one line."""


class SseDecoder:
    """Server-sent events, as WHATWG HTML has them. Bytes are split, never decoded: a character may span reads."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        buffered = self._rest + chunk
        if b"\r" in buffered:
            held = buffered.endswith(b"\r")  # it may be half of a CRLF
            buffered = _LINE_END.sub(b"\n", buffered[:-1] if held else buffered) + (b"\r" if held else b"")
        *blocks, self._rest = buffered.split(b"\n\n")
        return [data for block in blocks if (data := _data(block))]


def _data(block: bytes) -> bytes:
    """The data of one block. Several `data` lines are one value; in JSON a line end between them is a mere space."""
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b" ".join(lines)


class EventStreamDecoder:
    """AWS's binary event stream, as Bedrock answers: each message wraps the JSON of one event in base64."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]

        self._buffer = EventStreamBuffer()

    def feed(self, chunk: bytes) -> list[bytes]:
        self._buffer.add_data(chunk)
        return [_unwrap(message.headers, message.payload) for message in self._buffer]


def _unwrap(headers: dict[str, object], payload: bytes) -> bytes:
    if headers.get(":message-type") != "event":
        code = str(headers.get(":exception-type") or headers.get(":error-code") or "api_error")
        return error_event(type="api_error", message="The upstream ended the stream with an error.", code=code)
    return base64.b64decode(msgspec.json.decode(payload)["bytes"])
