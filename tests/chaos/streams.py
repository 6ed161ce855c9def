"""A client that looks at every byte of a stream: frames with their positions, keepalives, and how it ended."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Protocol, Self

import aiohttp

from tests.support.service import Service

FINAL: Final = ("completed", "failed", "cancelled", "interrupted")


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event; `id` is None where it had none. `at` is when it came."""

    id: int | None
    event: str
    data: str
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def text(self) -> str:
        """The answer's text in it, in either dialect."""
        if self.event == "message":
            return "" if self.data == "[DONE]" else str(self.json.get("text", ""))
        if self.event == "content_block_delta":
            return str(self.json["delta"].get("text", ""))
        return ""

    @property
    def done(self) -> bool:
        return self.data == "[DONE]" or self.event == "message_stop"

    @property
    def error(self) -> str | None:
        """The code of the error that it tells, in either dialect."""
        if self.event != "error":
            return None
        error = self.json["error"]
        return str(error["code"] if "code" in error else error["details"]["error_code"])

    @property
    def terminal(self) -> bool:
        return self.done or self.error is not None


@dataclass
class Stream:
    """One response. `broken` says that the connection ended inside the body."""

    status: int
    headers: Mapping[str, str]
    response: aiohttp.ClientResponse
    frames: list[Frame] = field(default_factory=list)
    keepalives: list[float] = field(default_factory=list)
    ended: bool = False
    broken: bool = False
    _rest: bytes = b""

    @property
    def id(self) -> str:
        return self.headers["x-completion-id"]

    @property
    def text(self) -> str:
        return "".join(frame.text for frame in self.frames)

    @property
    def ids(self) -> list[int]:
        return [frame.id for frame in self.frames if frame.id is not None]

    @property
    def last_id(self) -> int:
        return max(self.ids, default=0)

    @property
    def done(self) -> bool:
        """It was told that the answer is whole."""
        return any(frame.done for frame in self.frames)

    @property
    def error(self) -> str | None:
        return next((frame.error for frame in self.frames if frame.error is not None), None)

    @property
    def terminal(self) -> Frame | None:
        return next((frame for frame in self.frames if frame.terminal), None)

    async def more(self) -> bool:
        """Take one read; False at the end."""
        try:
            data = await self.response.content.readany()
        except (aiohttp.ClientError, OSError):
            self.broken = self.ended = True
            return False
        if not data:
            self.ended = True
            return False
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for lines in whole:
            self._take(lines.decode())
        return True

    def _take(self, lines: str) -> None:
        now = time.monotonic()
        fields = dict(line.split(": ", 1) for line in lines.split("\n") if not line.startswith(":"))
        if not fields:
            self.keepalives.append(now)
            return
        id = int(fields["id"]) if "id" in fields else None
        self.frames.append(Frame(id, fields.get("event", "message"), fields["data"], now))

    async def until(self, frames: int) -> Self:
        """Read on until there are so many frames."""
        while len(self.frames) < frames:
            assert await self.more(), f"ended after {len(self.frames)} frames: {self.frames[-1:]}"
        return self

    async def until_text(self, length: int) -> Self:
        while len(self.text) < length:
            assert await self.more(), f"ended after {len(self.frames)} frames: {self.frames[-1:]}"
        return self

    async def to_end(self) -> Self:
        """Read to the end of the body, or of the connection."""
        while await self.more():
            pass
        return self

    async def reads_for(self, seconds: float) -> Self:
        try:
            async with asyncio.timeout(seconds):
                await self.to_end()
        except TimeoutError:
            pass
        return self

    def drop(self) -> None:
        """Break the connection."""
        self.response.close()


class Client:
    """Speaks to one instance, with as many connections as it takes."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self.service = service
        self._session = session
        self._responses: list[aiohttp.ClientResponse] = []

    async def create(self, model: str = "claude-sim", **fields: Any) -> Stream:
        """A native completion that has begun."""
        body = {"model": model, "input": "Say something.", "max_tokens": 100_000, **fields}
        return await self._stream("POST", "/v1/completions", json=body)

    async def resume(
        self, id: str, *, last_event_id: int | None = None, after: int | None = None, dialect: str | None = None
    ) -> Stream:
        headers = {"last-event-id": str(last_event_id)} if last_event_id is not None else {}
        params = {"after": after, "dialect": dialect}
        return await self._stream(
            "GET",
            f"/v1/completions/{id}/stream",
            headers=headers,
            params={name: str(value) for name, value in params.items() if value is not None},
        )

    async def _stream(self, method: str, path: str, **options: Any) -> Stream:
        response = await self._session.request(method, self.service.url + path, **options)
        self._responses.append(response)
        return Stream(response.status, response.headers, response)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """The status and the JSON of an answer in one piece."""
        async with self._session.request(method, self.service.url + path, **options) as response:
            body = await response.read()
            return response.status, json.loads(body) if body else None

    async def get(self, id: str) -> Any:
        """The completion."""
        status, body = await self.call("GET", f"/v1/completions/{id}")
        assert status == 200, body
        return body

    async def final(self, id: str, within: float = 10) -> Any:
        """The completion once it has ended."""
        patience = time.monotonic() + within
        while (completion := await self.get(id))["status"] not in FINAL:
            assert time.monotonic() < patience, completion
            await asyncio.sleep(0.05)
        return completion

    async def cancel(self, id: str) -> Any:
        status, body = await self.call("POST", f"/v1/completions/{id}/cancel")
        assert status == 200, body
        return body

    async def conversation(self, **fields: Any) -> str:
        status, body = await self.call("POST", "/v1/conversations", json=fields)
        assert status == 201, body
        return str(body["id"])

    async def messages(self, conversation: str) -> list[Any]:
        status, body = await self.call("GET", f"/v1/conversations/{conversation}/messages")
        assert status == 200, body
        messages: list[Any] = body["data"]
        return messages

    def close(self) -> None:
        """Leave whatever was not read to its end."""
        for response in self._responses:
            response.close()


class Connect(Protocol):
    async def __call__(self, service: Service) -> Client:
        """A client of this instance; closed with the test."""


@asynccontextmanager
async def clients() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connect(service: Service) -> Client:
            session = aiohttp.ClientSession(
                headers={"authorization": f"Bearer {service.key}"},
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=2**18,
            )
            client = Client(service, await stack.enter_async_context(session))
            stack.callback(client.close)
            return client

        yield connect


def strictly_increasing(ids: list[int]) -> bool:
    return all(a < b for a, b in pairwise(ids))
