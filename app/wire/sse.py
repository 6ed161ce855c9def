"""Bytes of server-sent events (WHATWG HTML, "Server-sent events")."""

from collections.abc import Sequence
from typing import Final, Protocol

from app.domain.events import Event

KEEPALIVE: Final = b": keepalive\n\n"

# `no-transform` and `x-accel-buffering` keep proxies from compressing or collecting what has to arrive at once.
HEADERS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


class Encoder(Protocol):
    """A dialect as a fold: events in, bytes out. One encoder serves one reader, from the log's first event on."""

    def skip(self, events: Sequence[Event]) -> None:
        """Take events that the reader has already had, without output."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """The frames of the next events, empty where the dialect says nothing of them."""
