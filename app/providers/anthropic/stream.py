"""The body of one streamed answer."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2
from anthropic._response import AsyncAPIResponse

from app.domain.errors import UpstreamError
from app.providers.anthropic.decoders import Decoder, EventStreamDecoder, SseDecoder
from app.providers.anthropic.errors import connection_error
from app.providers.base import ProviderStream
from app.providers.transport import READER, Connection


async def event_stream(response: AsyncAPIResponse[Any]) -> ProviderStream:
    """
    Raises:
        UpstreamError: it is no stream of events.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return AnthropicStream(response, SseDecoder())
    if kind == "application/vnd.amazon.eventstream":
        return AnthropicStream(response, EventStreamDecoder())
    await response.close()
    raise UpstreamError("The upstream did not answer with a stream of events.", code="upstream_malformed")


class AnthropicStream:
    def __init__(self, response: AsyncAPIResponse[Any], decoder: Decoder) -> None:
        self._response = response
        self._decoder = decoder
        self._connection: Connection | None = response.http_response.extensions.get(READER)
        self._chunk: Callable[[], Awaitable[bytes]]
        if self._connection is not None:
            # Not through httpx2: each of its generators costs microseconds a read.
            self._chunk = self._connection.read
        else:
            self._chunk = partial(anext, response.http_response.aiter_bytes(), b"")

    async def read(self) -> list[bytes]:
        with _breaks_as_ours():
            while chunk := await self._chunk():
                if events := self._decoder.feed(chunk):
                    return events
        return []

    async def pour(self, take: Callable[[list[bytes]], bool]) -> bool:
        self._take = take
        with _breaks_as_ours():
            if self._connection is not None:
                return await self._connection.pour(self._pour)
            while chunk := await self._chunk():
                if self._pour(chunk):
                    return True
        return False

    def _pour(self, chunk: bytes) -> bool:
        events = self._decoder.feed(chunk)
        return bool(events) and self._take(events)

    async def aclose(self, *, at_end: bool = False) -> None:
        if at_end and self._connection is not None:
            self._connection.leave(at_end=True)
        else:
            await self._response.close()


@contextmanager
def _breaks_as_ours() -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, OSError) as exc:
        raise connection_error(exc) from exc
