"""What the simulator was asked, for tests to look at.

Headers are kept as they came, keys and tokens among them: this is a test tool, which must not see real secrets.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from local.upstream.schema import Json

# Enough for a benchmark to run for hours without growing: what is oldest goes first.
KEPT_REQUESTS = 10_000
KEPT_BYTES = 64_000_000
# A larger body is counted and not kept.
KEPT_BODY_BYTES = 256_000


@dataclass(slots=True, kw_only=True)
class RecordedRequest:
    """One request and what became of it. Times are Unix seconds.

    Attributes:
        raw_body: the body's bytes, or None when they were too many to keep.
        body_bytes: how many there were.
        status: of the answer, 0 before there is one.
        events_sent: whole events of a stream, or pieces of a JSON body.
        finished: all that was meant to be sent is sent, and the body was ended cleanly.
        hung_up_at: when the client was seen to leave before that, or None.
        usage: of the whole answer, as its end tells it; None where there is no answer.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    raw_body: bytes | None
    body_bytes: int
    request_id: str
    received_at: float
    status: int = 0
    events_sent: int = 0
    finished: bool = False
    hung_up_at: float | None = None
    usage: Json | None = None

    @property
    def body(self) -> Any:
        """The body's JSON, or None when there is none (any more)."""
        try:
            return msgspec.json.decode(self.raw_body or b"null")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def as_json(self) -> Json:
        """Return what `GET /_sim/requests` shows of it."""
        shown = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "raw_body"}
        return {**shown, "body": self.body}


class Recorder:
    """The last requests, oldest first."""

    def __init__(self, keep: int = KEPT_REQUESTS) -> None:
        self.requests: deque[RecordedRequest] = deque()
        self._keep = keep
        self._bytes = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def recording(self, request: RecordedRequest) -> Iterator[None]:
        """Keep a request, and count it as open until it is answered or its client has left."""
        self._add(request)
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._idle.set()

    async def idle(self) -> None:
        """Return when no request is open."""
        await self._idle.wait()

    def clear(self) -> None:
        """Forget all."""
        self.requests.clear()
        self._bytes = 0

    def _add(self, request: RecordedRequest) -> None:
        self.requests.append(request)
        self._bytes += len(request.raw_body or b"")
        while len(self.requests) > self._keep or self._bytes > KEPT_BYTES:
            self._bytes -= len(self.requests.popleft().raw_body or b"")
