"""Plays a script over a real connection, at a pace, and notes how far it came."""

import asyncio
import socket
import struct
from collections.abc import Iterable, Iterator
from itertools import islice

from aiohttp import web

from local.upstream.faults import Ending, Script
from local.upstream.pace import Pace
from local.upstream.recorder import RecordedRequest

# SO_LINGER on, for zero seconds: closing then sends a reset.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def play(
    script: Script, pace: Pace, request: web.Request, record: RecordedRequest, *, batch: int = 1
) -> web.StreamResponse:
    """Answer a request with a script; the response is ended, or its connection is.

    Args:
        script: what to send.
        pace: how fast.
        request: whom to answer.
        record: where to note what was sent.
        batch: events in one write, where the script does not say.
    """
    response = web.StreamResponse(headers={"content-type": script.content_type, "cache-control": "no-cache"})
    if not script.headers_first:
        await asyncio.sleep(pace.first_event_s)
    if script.ending is Ending.RESET:
        _reset(request)
        return response
    await response.prepare(request)
    record.status = response.status
    if script.headers_first:
        await asyncio.sleep(pace.first_event_s)
    await _send(script, script.together or batch, pace.interval_s, response, record)
    await _end(script, request, response, record)
    return response


async def _send(
    script: Script, together: int, interval_s: float, response: web.StreamResponse, record: RecordedRequest
) -> None:
    clock = asyncio.get_running_loop().time
    # Events are due by the clock, not so long after the last one, so that the rate holds whatever a write costs.
    due = clock()
    for group in _groups(script.pieces, together):
        await asyncio.sleep(due - clock())
        await _write(response, b"".join(group), bytewise=script.bytewise)
        record.events_sent += len(group)
        due += interval_s * len(group)
    if script.torn:
        await response.write(script.torn)


def _groups(pieces: Iterable[bytes], size: int) -> Iterator[tuple[bytes, ...]]:
    rest = iter(pieces)
    while group := tuple(islice(rest, size)):
        yield group


async def _write(response: web.StreamResponse, data: bytes, *, bytewise: bool) -> None:
    if not bytewise:
        return await response.write(data)
    for position in range(len(data)):
        await response.write(data[position : position + 1])
        await asyncio.sleep(0)  # let the reader see this byte before the next


async def _end(script: Script, request: web.Request, response: web.StreamResponse, record: RecordedRequest) -> None:
    match script.ending:
        case Ending.CLEAN:
            await response.write_eof()
            record.finished = True
        case Ending.HANG:
            await asyncio.get_running_loop().create_future()
        case _:
            _transport(request).close()


def _reset(request: web.Request) -> None:
    transport = _transport(request)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("The client has left")
    return request.transport
