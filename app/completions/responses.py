"""What a completion is answered with, in any dialect."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from starlette.responses import Response

from app.completions.answers import Answer
from app.config import Settings
from app.dependencies import replay_headers
from app.domain.limits import Limits
from app.streaming.event_stream import EventStream
from app.streaming.log import Log
from app.wire.sse import Encoder


def headers(answer: Answer, settings: Settings, limits: Callable[[Limits], dict[str, str]]) -> dict[str, str]:
    """Where the completion is found later, and what the caller's `limits` leave it, in the dialect's headers."""
    return {
        "x-completion-id": str(answer.id),
        "location": settings.location(f"/v1/completions/{answer.id}"),
        **_timing(answer, settings),
        **replay_headers(answer.replayed),
        **limits(answer.limits),
    }


def _timing(answer: Answer, settings: Settings) -> dict[str, str]:
    """The upstream's part; whoever answers is added to it (`observability.served_by`)."""
    if answer.upstream_ms is None or not settings.server_timing:
        return {}
    return {"server-timing": f"upstream;dur={answer.upstream_ms}"}


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
