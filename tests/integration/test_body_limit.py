"""A body past the limit is a 413, announced or not, and nothing comes of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from tests.support.headwater import Headwater, assert_told

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETIONS: Final = "/v1/completions"
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
CONVERSATIONS: Final = "/v1/conversations"
KEYS: Final = "/v1/keys"
MAX_BODY: Final = 200_000
SERVICE: Final = {"max_body": MAX_BODY}

COMPLETION: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 50}


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, COUNT, CONVERSATIONS, KEYS])
async def test_a_huge_body_is_a_413(
    headwater: Headwater, client: httpx.AsyncClient, admin: httpx.AsyncClient, path: str
) -> None:
    counts = headwater.counts()
    caller = admin if path == KEYS else client
    response = await caller.post(path, content=b'{"input": "' + b"a" * MAX_BODY + b'"}')
    assert_told(response, 413, "request_too_large")
    assert headwater.counts() == counts


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, CONVERSATIONS])
async def test_a_huge_body_without_a_length_is_a_413(
    headwater: Headwater, client: httpx.AsyncClient, path: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 10_000 + 2):
            yield b"[" * 10_000

    counts = headwater.counts()
    assert_told(await client.post(path, content=body()), 413, "request_too_large")
    assert headwater.counts() == counts


async def test_a_huge_body_is_refused_before_it_is_sent(headwater: Headwater) -> None:
    url = httpx.URL(headwater.service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {headwater.service.key}\r\ncontent-length: 999999999"
    writer.write(f"{head}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_at_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = json.dumps(COMPLETION | {"stream": False}).encode()
    padded = body + b" " * (MAX_BODY - len(body))
    assert (await client.post(COMPLETIONS, content=padded)).status_code == 200
    assert_told(await client.post(COMPLETIONS, content=padded + b" "), 413, "request_too_large")
