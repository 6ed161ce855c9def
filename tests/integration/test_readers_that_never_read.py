"""Readers that ask for a stream and then take nothing: they cost little, are let go, and harm nobody."""

import asyncio
import socket
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.support.headwater import Headwater, frames, text_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SERVICE: Final = {"send_timeout": 2}
READERS: Final = 20
# Nine megabytes in the dialect that says most, of which the kernel takes three for a reader.
LONG: Final = "sim-ok?rate=4000&batch=100&tokens=40000"
BODY: Final[dict[str, Any]] = {"model": LONG, "input": "Hello.", "max_tokens": 50_000}
# What all of them may add to the process. What they have not taken, kept in memory, would be more than twice that.
MOST_MEMORY: Final = 50e6


async def _ask_and_never_read(headwater: Headwater, id: str) -> socket.socket:
    address = urlsplit(headwater.service.url)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, (address.hostname, address.port))
    head = f"GET /v1/completions/{id}/stream?dialect=openai_chat HTTP/1.1\r\nhost: test\r\n"
    await loop.sock_sendall(reader, f"{head}authorization: Bearer {headwater.service.key}\r\n\r\n".encode())
    return reader


async def _rest_of(reader: socket.socket) -> bytes:
    """What the kernel has kept for it, until the connection is found to be over."""
    read = b""
    try:
        while piece := await asyncio.get_running_loop().sock_recv(reader, 2**20):
            read += piece
    except ConnectionResetError:
        pass
    return read


async def test_they_are_dropped_and_the_stream_goes_on(headwater: Headwater, client: httpx.AsyncClient) -> None:
    service = psutil.Process(headwater.service.pid)
    await client.post("/v1/completions", json=BODY)  # what the log itself takes is there to be used again
    async with client.stream("POST", "/v1/completions", json=BODY) as response:
        id = response.headers["x-completion-id"]
        before = service.memory_info().rss
        readers = [await _ask_and_never_read(headwater, id) for _ in range(READERS)]
        whole = (await response.aread()).decode()
    grown = service.memory_info().rss - before
    rests = await asyncio.gather(*(_rest_of(reader) for reader in readers))
    for reader in readers:
        reader.close()

    stored = (await client.get(f"/v1/completions/{id}")).json()
    assert stored["status"] == "completed"
    assert text_of(frames(whole)) == stored["text"]
    assert not [rest for rest in rests if b"data: [DONE]" in rest], "somebody was not dropped"
    assert grown < MOST_MEMORY
