"""A batch's progress as server-sent events: few of them, over hours or days."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.config import Settings
from app.streaming.log import Log
from app.wire.sse import HEADERS

_SEPARATOR: Final = "\n"
# How soon a stream notices that the service ends, and how long it is given to do so.
_LOOK: Final = 0.5
_GRACE: Final = 5.0


def progress_stream(
    source: AbstractContextManager[Log], settings: Settings, *, after: int, ends_by: float | None
) -> EventSourceResponse:
    """Everything past the position `after`, until the batch has ended.

    Where the request's time is over before (`ends_by`), or the service ends, the stream just ends: it is read on from
    the last position, here or elsewhere, which an `EventSource` does by itself.
    """
    closing = anyio.Event()
    return EventSourceResponse(
        _frames(source, after, lambda: closing.is_set() or (ends_by is not None and time.time() >= ends_by)),
        headers={name: value for name, value in HEADERS.items() if name != "content-type"},
        ping=settings.keepalive,
        ping_message_factory=lambda: ServerSentEvent(comment="keepalive", sep=_SEPARATOR),
        send_timeout=settings.send_timeout,
        shutdown_event=closing,
        shutdown_grace_period=_GRACE,
    )


async def _frames(
    source: AbstractContextManager[Log], after: int, is_over: Callable[[], bool]
) -> AsyncIterator[ServerSentEvent]:
    with source as log:
        changed: asyncio.Future[Any] = log.changed()
        while True:
            for event in log.after(after):
                yield ServerSentEvent(event.data.decode(), event=event.type, id=str(event.seq), sep=_SEPARATOR)
                after = event.seq
            if log.ended or is_over():
                return
            if not log.after(after):
                await asyncio.wait([changed], timeout=_LOOK)
            if changed.done():
                changed = log.changed()
