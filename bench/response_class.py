"""Our event-stream response against sse-starlette's, fed by the same log: the measurement behind docs/adr/0003.

`python -m bench.response_class` reads 20 paced and then 500 silent streams from each in turn, from a server process of
its own, and prints that process's CPU per event and memory per stream. Loopback only; ends by itself in two minutes.
"""

import asyncio
import os
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.domain.events import Event
from app.streaming.event_stream import EventStream
from app.streaming.log import Log
from app.wire.plain import PlainEncoder

PORT: Final = 18790
STREAMS: Final = 20
EVENTS: Final = 150
PER_SECOND: Final = 24
HELD: Final = 500
ROUNDS: Final = 3

_DATA: Final = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}'


# -- the server

_FILLING: Final[set[asyncio.Task[None]]] = set()


def _filled(request: Request) -> Log:
    """A log that grows at the pace of a model, or one that stays silent."""
    log = Log()
    if "silent" not in request.query_params:
        task = asyncio.get_running_loop().create_task(_fill(log))
        _FILLING.add(task)
        task.add_done_callback(_FILLING.discard)
    return log


async def _fill(log: Log) -> None:
    for seq in range(1, EVENTS + 1):
        await asyncio.sleep(1 / PER_SECOND)
        log.append([Event(seq, "content_block_delta", _DATA)], end=seq == EVENTS)


async def ours(request: Request) -> Response:
    return EventStream(nullcontext(_filled(request)), PlainEncoder(), after=0, keepalive=15, send_timeout=30)


async def theirs(request: Request) -> Response:
    return EventSourceResponse(_frames(_filled(request)), ping=15, send_timeout=30)


async def _frames(log: Log) -> AsyncIterator[bytes]:
    encoder, after = PlainEncoder(), 0
    while not log.ended or log.after(after):
        if not (events := log.after(after)):
            await log.changed()
            continue
        after = events[-1].seq
        yield encoder.encode(events)


def serve() -> None:
    app = Starlette(routes=[Route("/ours", ours), Route("/theirs", theirs)])
    uvicorn.run(app, port=PORT, loop="uvloop", http="httptools", log_level="error", access_log=False)


# -- the client


async def _read(path: str, seconds: float | None = None) -> int:
    """Events read until the end, or for so many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    events, tail = 0, b""
    try:
        async with asyncio.timeout(seconds):
            while not tail.endswith(b"0\r\n\r\n"):
                chunk = await reader.read(65536)
                events += chunk.count(b"data:")
                tail = (tail + chunk)[-5:]
    except TimeoutError:
        pass
    writer.close()
    return events


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def _us_per_event(pid: int, path: str) -> float:
    before = _cpu(pid)
    events = sum(await asyncio.gather(*[_read(path) for _ in range(STREAMS)]))
    assert events == STREAMS * EVENTS, events
    return (_cpu(pid) - before) / events * 1e6


async def _kb_per_stream(pid: int, path: str) -> float:
    before = _resident_kb(pid)
    reads = [asyncio.get_running_loop().create_task(_read(f"{path}?silent", 4)) for _ in range(HELD)]
    await asyncio.sleep(3)
    held = _resident_kb(pid)
    await asyncio.gather(*reads)
    return (held - before) / HELD


async def measure(route: str) -> tuple[float, float]:
    """CPU per event in microseconds, memory per held stream in kB; in a server process of its own."""
    server = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.response_class", "serve")
    try:
        await asyncio.sleep(1.5)
        await _read(f"/{route}?silent", 0.2)
        return await _us_per_event(server.pid, f"/{route}"), await _kb_per_stream(server.pid, f"/{route}")
    finally:
        server.terminate()
        await server.wait()


async def main() -> None:
    results: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for route, figures in results.items():
            figures.append(await measure(route))
    for route, figures in results.items():
        cpu, memory = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{route:7} {cpu:6.0f} us CPU per event   {memory:5.1f} kB per held stream   rounds: {figures}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else asyncio.run(main())
