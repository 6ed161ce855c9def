"""One call of a function, and what comes back of it, as it comes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from app.domain.ids import uuid7


class Failure(Exception):
    """The function or its environment failed; `type` and the message are what Lambda's Invoke tells of it."""

    def __init__(self, type: str, message: str, payload: bytes | None = None) -> None:
        super().__init__(message)
        self.type = type
        self._payload = payload

    @property
    def payload(self) -> bytes:
        """The runtime's own words, where it had any."""
        return self._payload or json.dumps({"errorType": self.type, "errorMessage": str(self)}).encode()


class Answer:
    """The runtime puts it in, one reader takes it out. A reader that leaves changes nothing for the runtime."""

    def __init__(self) -> None:
        self.content_type = ""
        self.streaming = False
        self.failure: Failure | None = None
        self.has_begun = False
        self.ended = False
        self._told = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def begin(self, content_type: str, *, streaming: bool) -> None:
        self.content_type = content_type
        self.streaming = streaming
        self.has_begun = True
        self._told.set()

    def feed(self, piece: bytes) -> None:
        if not self.ended:
            self._pieces.put_nowait(piece)

    def end(self, failure: Failure | None = None) -> None:
        """Only the first end counts: a timed-out function may still answer before it is killed."""
        if not self.ended:
            self.ended, self.failure = True, failure
            self._pieces.put_nowait(None)
            self._told.set()

    async def begun(self) -> None:
        """Return when the answer begins.

        Raises:
            Failure: it never will.
        """
        await self._told.wait()
        if self.failure is not None and not self.has_begun:
            raise self.failure

    async def pieces(self) -> AsyncIterator[bytes]:
        """As the runtime sent them.

        Raises:
            Failure: there was an end before it was whole.
        """
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if self.failure is not None:
            raise self.failure

    async def whole(self) -> bytes:
        """Raises: Failure."""
        return b"".join([piece async for piece in self.pieces()])


class Invocation:
    """`deadline` is in seconds since 1970, and counts from when an environment got it."""

    def __init__(self, event: Any) -> None:
        self.id = str(uuid7())
        self.payload: bytes = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.answer = Answer()
        self.deadline = 0.0
        self.trace = f"Root=1-{int(time.time()):08x}-{uuid7().hex[8:]};Parent={uuid7().hex[16:]};Sampled=1"
