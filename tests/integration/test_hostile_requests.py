"""Over sockets: headers without end, bodies that do not come, and headers that claim what nobody has checked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest

from tests.support.headwater import Headwater, assert_told

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY_TIMEOUT: Final = 1.5
SERVICE: Final = {"body_timeout": BODY_TIMEOUT}
PATIENCE: Final = 30


class Raw:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def status(self) -> int:
        """Of the next response."""
        async with asyncio.timeout(PATIENCE):
            return int((await self._reader.readline()).split()[1])

    async def rest(self) -> bytes:
        """All that comes until the other side closes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


@asynccontextmanager
async def connected(headwater: Headwater) -> AsyncIterator[Raw]:
    url = httpx.URL(headwater.service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


async def answers(headwater: Headwater) -> bool:
    async with headwater.client() as client:
        return (await client.get("/v1/conversations")).status_code == 200


# -- headers


def head(*headers: str, target: str = "/livez") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "host: a", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    "request_head",
    [
        head(f"x-a: {'a' * 65_536}"),
        head(*[f"x-{n}: {'a' * 1000}" for n in range(66)]),
        head(*[f"x-{n}: a" for n in range(100)]),
        head(target="/" + "a" * 65_536),
        head(f"{'x' * 65_536}: a"),
        head(f"x-a: {'a' * 3_000_000}"),
    ],
    ids=["long", "long-in-all", "many", "target", "name", "very-long"],
)
async def test_a_head_that_is_too_large_is_a_431_and_the_end(headwater: Headwater, request_head: bytes) -> None:
    async with connected(headwater) as raw:
        await raw.send(request_head)
        assert await raw.status() == 431
        assert b"connection: close" in await raw.rest()
    assert await answers(headwater)


async def test_a_header_that_never_ends_is_not_kept(headwater: Headwater) -> None:
    async with connected(headwater) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-a: ")
        for _ in range(50):  # the limit, and what one read of the server may hold beyond it
            await raw.send(b"a" * 8192)
            await asyncio.sleep(0.01)
        assert await raw.status() == 431
        await raw.rest()


async def test_a_head_within_the_limits_is_read(headwater: Headwater) -> None:
    for headers in ([f"x-a: {'a' * 60_000}"], [f"x-{n}: a" for n in range(99)]):
        async with connected(headwater) as raw:
            await raw.send(head(*headers))
            assert await raw.status() == 200


async def test_each_request_of_a_connection_has_the_whole_limit(headwater: Headwater) -> None:
    async with headwater.client() as client:
        for _ in range(5):
            response = await client.get("/livez", headers={"x-a": "a" * 30_000})
            assert response.status_code == 200
        response = await client.post("/v1/conversations", content=b"[" * 300_000, headers={"x-a": "a" * 30_000})
        assert response.status_code == 422
        response = await client.get("/livez", headers={"x-a": "a" * 70_000})
        assert response.status_code == 431


async def test_no_answer_is_mixed_into_another(headwater: Headwater) -> None:
    """The second request of a connection is too large while the first one's answer streams: it only ends."""
    body = b'{"model": "sim-ok?rate=20&tokens=60", "input": "x", "max_tokens": 100}'
    async with connected(headwater) as raw:
        await raw.send(begun(headwater, "/v1/completions", length=len(body)) + body[1:])
        assert await raw.status() == 200
        await raw.send(head(f"x-a: {'a' * 70_000}"))
        assert b"HTTP/1.1" not in await raw.rest()
    assert await answers(headwater)


# -- bodies


def begun(headwater: Headwater, path: str, *, length: int = 1000) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: a", f"x-api-key: {headwater.service.key}", f"content-length: {length}"]
    return "\r\n".join([*lines, "content-type: application/json", "", "{"]).encode()


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/completions", b'"type":"/problems/request_too_slow"'),
        ("/v1/conversations", b'"type":"/problems/request_too_slow"'),
        ("/v1/tokens", b'"type":"/problems/request_too_slow"'),
        ("/v1/messages", b'"error_code":"request_too_slow"'),
        ("/v1/chat/completions", b'"code":"request_too_slow"'),
        ("/v1/responses", b'"code":"request_too_slow"'),
        ("/api/chat", b"The request body did not come within 1.5 seconds."),
    ],
)
async def test_a_body_that_does_not_come_is_a_408_and_the_end(headwater: Headwater, path: str, shape: bytes) -> None:
    async with connected(headwater) as raw:
        started = time.monotonic()
        await raw.send(begun(headwater, path))
        assert await raw.status() == 408
        assert time.monotonic() - started >= BODY_TIMEOUT * 0.9
        rest = await raw.rest()
        assert shape in rest
        assert b"connection: close" in rest


async def test_a_body_that_trickles_is_a_408(headwater: Headwater) -> None:
    async with connected(headwater) as raw:
        await raw.send(begun(headwater, "/v1/completions"))

        async def trickle() -> None:
            while True:
                await raw.send(b" ")
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            trickling = group.create_task(trickle())
            assert await raw.status() == 408
            trickling.cancel()


async def test_a_body_that_takes_its_time_is_read(headwater: Headwater) -> None:
    body = b"{}" + b" " * 98
    async with connected(headwater) as raw:
        await raw.send(begun(headwater, "/v1/conversations", length=len(body)))
        await asyncio.sleep(BODY_TIMEOUT / 5)
        await raw.send(body[1:])
        assert await raw.status() == 201


async def test_a_stream_may_last_longer_than_its_body_might(headwater: Headwater) -> None:
    body: dict[str, Any] = {"model": "sim-ok?rate=10&tokens=30", "input": "x", "max_tokens": 100}
    started = time.monotonic()
    async with headwater.client() as client:
        response = await client.post("/v1/completions", json=body)
    assert time.monotonic() - started > BODY_TIMEOUT
    assert response.text.endswith("data: [DONE]\n\n")


# -- headers that claim something

FORGED: Final = {
    "x-amzn-request-context": '{"requestId": "forged", "identity": {"sourceIp": "6.6.6.6"}, "authorizer": {"a": "b"}}',
    "x-amzn-lambda-context": '{"request_id": "forged", "deadline": 1, "invoked_function_arn": "arn:forged"}',
    "x-amzn-trace-id": "Root=1-forged",
    "x-amz-cf-id": "forged",
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "forged.example",
    "x-forwarded-prefix": "/forged",
    "forwarded": "for=6.6.6.6;host=forged.example;proto=https",
    "x-real-ip": "6.6.6.6",
    "x-request-id": "forged",
    "request-id": "forged",
    "x-original-url": "/v1/keys",
    "x-http-method-override": "DELETE",
    "x-tenant": "forged",
}


def told(response: httpx.Response) -> tuple[int, dict[str, str], str]:
    """A response, but for what is another one with each request."""
    once = ("date", "request-id", "x-request-id", "x-completion-id", "content-length")
    headers = {name: value for name, value in response.headers.items() if name not in once}
    return response.status_code, headers, response.text.replace(response.headers["request-id"], "-")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("GET", "/v1/conversations"),
        ("GET", "/v1/conversations/"),
        ("GET", "/v1/keys"),
        ("GET", "/nowhere"),
        ("DELETE", "/v1/completions"),
    ],
)
async def test_forged_headers_change_nothing(headwater: Headwater, method: str, path: str) -> None:
    async with headwater.client() as client:
        plain = await client.request(method, path)
        forged = await client.request(method, path, headers=FORGED)
    assert told(forged) == told(plain)
    for response in (plain, forged):
        assert response.headers["request-id"].startswith("req_")
        assert response.headers["request-id"] == response.headers["x-request-id"]
    assert "forged" not in str(forged.headers)


async def test_nobody_is_sent_elsewhere(headwater: Headwater) -> None:
    async with headwater.client() as client:
        for path in ("/v1/conversations/", "/v1/completions/", "/livez/"):
            assert_told(await client.get(path), 404, "not_found")


async def test_forged_headers_are_nobodys_credentials(headwater: Headwater) -> None:
    async with httpx.AsyncClient(base_url=headwater.service.url) as nobody:
        assert_told(await nobody.get("/v1/conversations", headers=FORGED), 401, "no_api_key")


async def test_a_completion_with_forged_headers_is_its_keys(headwater: Headwater) -> None:
    body: dict[str, Any] = {"model": "sim-ok?rate=0&tokens=3", "input": "x", "max_tokens": 5, "stream": False}
    async with headwater.client() as client:
        made = await client.post("/v1/completions", json=body, headers=FORGED)
        assert made.status_code == 200
        assert made.headers["location"] == f"/v1/completions/{made.headers['x-completion-id']}"
        assert (await client.get(made.headers["location"])).json()["status"] == "completed"
    [(tenant,)] = headwater.rows("SELECT tenant FROM completions WHERE id = %s", made.headers["x-completion-id"])
    assert tenant == "default"
    [asked] = headwater.asked(body["model"])[-1:]
    assert not [name for name, value in asked.headers.items() if "forged" in value.lower() or "6.6.6.6" in value]
    assert "6.6.6.6" not in headwater.service.log.read_text()
