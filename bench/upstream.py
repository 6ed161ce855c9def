"""An upstream that is never the limit: `python -m bench.upstream PORT` speaks just enough of the Messages API.

What it answers stands in the request's text: `events=100 rate=24 first=0 hold=0 pad=0` are 100 events of text, 24 a
second after a wait of 0 ms; `rate=0` is as fast as the connection takes them, `hold=1` stays silent after the first,
and `pad` makes each text so much longer. Each event is an HTTP chunk of its own, as the real API sends it, and its text
holds the moment of sending, in microseconds.
"""

import asyncio
import re
import sys
import time
from typing import Final, cast

import uvloop

_ASKED: Final = re.compile(rb"events=(\d+) rate=([\d.]+) first=(\d+) hold=(\d) pad=(\d+)")
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# As many events as are handed to the socket at a time when there is no pace.
_BATCH: Final = 10

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_START: Final = (
    b'{"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","content":[],'
    b'"model":"claude-haiku-4-5","stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":20,"output_tokens":1}}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
)
_STOP: Final = (
    b'{"type":"content_block_stop","index":0}',
    b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}',
    b'{"type":"message_stop"}',
)
_DELTA: Final = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" t%d %b"}}'


def _chunk(name: bytes, data: bytes) -> bytes:
    frame = b"event: %b\ndata: %b\n\n" % (name, data)
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _delta(padding: bytes) -> bytes:
    return _chunk(b"content_block_delta", _DELTA % (time.monotonic_ns() // 1000, padding))


_OPENING: Final = _HEAD + _chunk(b"message_start", _START[0]) + _chunk(b"content_block_start", _START[1])


def _ending(events: int) -> bytes:
    stop, delta, end = _STOP
    last = _chunk(b"content_block_stop", stop) + _chunk(b"message_delta", delta % events)
    return last + _chunk(b"message_stop", end) + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._loop = asyncio.get_running_loop()
        self._request = b""
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._left = 0
        self._padding = b""

    def data_received(self, data: bytes) -> None:
        self._request += data
        head, _, body = self._request.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self._request = b""
        asked = _ASKED.search(body)
        if asked is None:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            return
        self._events = self._left = int(asked[1])
        self._interval = 1 / rate if (rate := float(asked[2])) else 0.0
        self._held = asked[4] == b"1"
        self._padding = b"x" * int(asked[5])
        self._at = self._loop.time() + int(asked[3]) / 1000
        self._timer = self._loop.call_at(self._at, self._begin)

    def _begin(self) -> None:
        self._transport.write(_OPENING + _delta(self._padding))
        self._left -= 1
        if not self._held:
            self._go_on()

    def _go_on(self) -> None:
        if self._interval:
            self._at += self._interval
            self._timer = self._loop.call_at(self._at, self._paced)
        elif not self._paused:
            self._timer = self._loop.call_soon(self._burst)  # type: ignore[assignment]

    def _paced(self) -> None:
        if self._left:
            self._left -= 1
            self._transport.write(_delta(self._padding))
            self._go_on()
        else:
            self._transport.write(_ending(self._events))

    def _burst(self) -> None:
        number = min(self._left, _BATCH)
        self._left -= number
        self._transport.write(b"".join([_delta(self._padding) for _ in range(number)]))
        if self._left:
            self._go_on()
        else:
            self._transport.write(_ending(self._events))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._left and not self._interval:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
