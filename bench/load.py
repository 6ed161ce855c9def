"""A client that is never the limit: `python -m bench.load` reads a plan from its input and prints what it saw.

Each stream has a connection of its own and is read until its end. Frames are counted, not decoded; the text of an event
holds the moment when the upstream sent it (bench/upstream.py), so that one look at each read tells how late it is.
"""

import asyncio
import resource
import socket
import sys
import time
from typing import Final, cast

import msgspec
import uvloop

# What an event's text begins with; nothing else in any dialect does.
_TEXT: Final = b'" t'
_DIGITS: Final = 20
_LITTLE: Final = 4096
_END: Final = b"\r\n0\r\n\r\n"


class Plan(msgspec.Struct, frozen=True):
    """`request` is sent as it is, once for each stream, `at_once` of them at a time.

    The first ones begin within `spread` seconds, so that they are not in step; after `seconds` all are let go.
    """

    port: int
    request: str
    streams: int
    at_once: int
    spread: float = 0.0
    seconds: float = 300.0
    # So many of the streams are never read.
    unread: int = 0


class Seen(msgspec.Struct):
    """Times in milliseconds, of each stream or of a sample of the events; `cpu` in seconds, this process's own."""

    events: int
    whole: int
    broken: int
    seconds: float
    cpu: float
    first_text: list[float]
    lateness: list[float]
    gaps: list[float]


class Reading(asyncio.Protocol):
    """One stream, from its request to its end."""

    def __init__(self, request: bytes, seen: Seen, *, unread: bool) -> None:
        self._request = request
        self._seen = seen
        self._unread = unread
        self._tail = b""
        self._first = True
        self._before = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._began = time.monotonic_ns()
        self.transport.write(self._request)
        if self._unread:
            asyncio.get_running_loop().call_soon(self.transport.pause_reading)  # not reading yet

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        known = self._tail + data
        self._seen.events += known.count(_TEXT)
        if (last := known.rfind(_TEXT)) >= 0:
            self._look(now, known[last + len(_TEXT) : last + _DIGITS])
        self._tail = known[-7:] if last < 0 else known[max(last + len(_TEXT), len(known) - 7) :]
        if known.endswith(_END):
            self._seen.whole += 1
            self.transport.close()

    def _look(self, now: int, sent: bytes) -> None:
        if self._first:
            self._first = False
            self._seen.first_text.append((now - self._began) / 1e6)
        else:
            self._seen.gaps.append((now - self._before) / 1e6)
        self._before = now
        digits, whole, _ = sent.partition(b" ")
        if whole:
            self._seen.lateness.append(now / 1e6 - int(digits) / 1e3)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def run(plan: Plan) -> Seen:
    seen = Seen(0, 0, 0, 0.0, 0.0, [], [], [])
    began, cpu = time.monotonic(), _cpu()
    request = plan.request.encode()
    numbers = iter(range(plan.streams))
    loop = asyncio.get_running_loop()

    async def one_after_the_other(place: int) -> None:
        await asyncio.sleep(plan.spread * place / plan.at_once)
        for number in numbers:
            unread = number < plan.unread
            try:
                _, reading = await loop.create_connection(
                    lambda unread=unread: Reading(request, seen, unread=unread),  # type: ignore[misc]
                    sock=await _connected(plan.port, receive=_LITTLE if unread else None),
                )
            except OSError:
                seen.broken += 1
                continue
            try:
                await reading.ended
            finally:
                reading.transport.abort()

    readers = asyncio.gather(*(one_after_the_other(place) for place in range(plan.at_once)))
    try:
        async with asyncio.timeout(plan.seconds):
            await readers
    except TimeoutError:
        pass
    seen.broken += plan.streams - seen.whole - seen.broken
    seen.seconds, seen.cpu = time.monotonic() - began, _cpu() - cpu
    return seen


async def _connected(port: int, receive: int | None) -> socket.socket:
    """To `port`; with `receive`, its side of the connection takes no more bytes than that."""
    connection = socket.socket()
    connection.setblocking(False)
    if receive is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan))))
    )
