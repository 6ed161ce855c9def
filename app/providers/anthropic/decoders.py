"""From an upstream's bytes to the JSON of events. A decoder takes what one network read brought."""

import re
from codecs import BOM_UTF8
from typing import Final, Protocol

import msgspec

from app.domain.errors import UpstreamError
from app.domain.events import error_event

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class Decoder(Protocol):
    def feed(self, chunk: bytes) -> list[bytes]:
        """The JSON of the events that `chunk` completes, each on one line."""


class SseDecoder:
    """Server-sent events, as WHATWG HTML has them. Bytes are split, never decoded: a character may span reads."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = _LINE_END.sub(b"\n", chunk)
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        datas = []
        for block in blocks:
            name, _, data = block.partition(b"\ndata: ")
            if not data or b"\n" in data or b"\n" in name or not name.startswith(b"event:"):
                data = _data(block)  # not as the Messages API writes it
            if data:
                datas.append(data)
        return datas


def _data(block: bytes) -> bytes:
    """The data of one block. Several `data` lines are one value; in JSON a line end between them is a mere space."""
    lines = [
        line[5:].removeprefix(b" ") for line in block.removeprefix(BOM_UTF8).split(b"\n") if line.startswith(b"data:")
    ]
    return b" ".join(lines)


class EventStreamDecoder:
    """AWS's binary event stream, as Bedrock answers: each message wraps the JSON of one event in base64."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer, ParserError

        self._buffer = EventStreamBuffer()
        self._malformed = (ParserError, msgspec.MsgspecError, UnicodeDecodeError)

    def feed(self, chunk: bytes) -> list[bytes]:
        try:
            self._buffer.add_data(chunk)
            return [_unwrap(message.headers, message.payload) for message in self._buffer]
        except self._malformed as exc:
            raise UpstreamError("The upstream sent an event that cannot be read.", code="upstream_malformed") from exc


class _Wrapped(msgspec.Struct, frozen=True):
    bytes: bytes  # msgspec reads base64


_WRAPPED: Final = msgspec.json.Decoder(_Wrapped)
# The exceptions of InvokeModelWithResponseStream, in the terms of Anthropic's API; the rest are failures.
_EXCEPTIONS: Final = {
    "throttlingException": "rate_limit_error",
    "serviceUnavailableException": "overloaded_error",
    "modelTimeoutException": "timeout_error",
    "validationException": "invalid_request_error",
}


def _unwrap(headers: dict[str, object], payload: bytes) -> bytes:
    if headers.get(":message-type") != "event":
        code = str(headers.get(":exception-type") or headers.get(":error-code") or "api_error")
        kind = _EXCEPTIONS.get(code, "api_error")
        return error_event(type=kind, message="The upstream ended the stream with an error.", code=code)
    return _LINE_END.sub(b" ", _WRAPPED.decode(payload).bytes)
