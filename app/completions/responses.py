"""What a generation is answered with, in any dialect."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from fastapi import Request
from starlette.responses import Response

from app.config import Settings
from app.streaming.event_stream import EventStream
from app.streaming.generation import Generation
from app.streaming.log import Log
from app.streaming.whole_answer import wait_for_end
from app.wire.sse import Encoder


def headers(generation: Generation, settings: Settings) -> dict[str, str]:
    """Where the completion is found later."""
    return {
        "x-completion-id": str(generation.id),
        "location": settings.location(f"/v1/completions/{generation.id}"),
    }


def event_stream(
    source: AbstractContextManager[Log],
    encoder: Encoder,
    settings: Settings,
    *,
    after: int = 0,
    headers: Mapping[str, str] | None = None,
    opening: bytes = b"",
) -> Response:
    return EventStream(
        source,
        encoder,
        after=after,
        keepalive=settings.keepalive,
        send_timeout=settings.send_timeout,
        headers=headers,
        opening=opening,
    )


async def wait_for_answer(generation: Generation, request: Request) -> bool:
    """Wait for the committed end; False if the caller left.

    Raises:
        AppError: it ended with an error.
    """
    if not await wait_for_end(generation.reading(), request.receive):
        return False
    if generation.error is not None:
        raise generation.error
    return True
