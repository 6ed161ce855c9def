"""What one reader has of one answer, over one connection or over several after a cut."""

import re
from collections.abc import Callable
from typing import Final

from compare.load.dialects import Dialect, error_kind, tokens_told

_START: Final = re.compile(r"\bstart;desc=(\w+)")
_HOME: Final = re.compile(r"\bhome;desc=(\w+)")
_INSTANCE: Final = re.compile(r"\binstance;desc=([\w-]+)")
_UPSTREAM: Final = re.compile(r"\bupstream;dur=(\d+(?:\.\d+)?)")
_ID: Final = b"\nid: "
# Of a frame, in bytes: what is no stream of events is not kept for ever.
_LONGEST: Final = 1024**2


class Answer:
    """Fed with the bytes of a body as they come. Moments are seconds of the monotonic clock.

    `ended` is None until the terminal event has come; then it is "whole" or the kind of the error that was told.
    """

    __slots__ = (
        "_dialect",
        "_gap",
        "_identified",
        "_tail",
        "bytes",
        "completion_id",
        "ended",
        "first_token",
        "headers_at",
        "input_tokens",
        "last_token",
        "output_tokens",
        "timing",
        "tokens",
    )

    def __init__(self, dialect: Dialect, gap: Callable[[float], None]) -> None:
        self._dialect = dialect
        self._gap = gap
        self._tail = b"\n"
        self._identified = b""
        self.bytes = 0
        self.tokens = 0
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.headers_at: float | None = None
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.completion_id: str | None = None
        self.timing = ""
        self.ended: str | None = None

    def begin(self, now: float, headers: dict[bytes, bytes]) -> None:
        """A connection has answered 200. After a cut the service repeats what the reader did not have whole."""
        self._tail = b"\n"
        if self.headers_at is None:
            self.headers_at = now
            self.timing = headers.get(b"server-timing", b"").decode("latin-1")
            self.completion_id = headers.get(b"x-completion-id", b"").decode("latin-1") or None

    def feed(self, now: float, data: bytes) -> None:
        self.bytes += len(data)
        # Lines end as the server likes it (https://html.spec.whatwg.org/multipage/server-sent-events.html).
        known = self._tail + data.replace(b"\r", b"")
        cut = known.rfind(b"\n\n") + 1
        if not cut:
            self._tail = known[-_LONGEST:]
            return
        self._tail = known[cut:]
        self._look(now, known[:cut])

    def _look(self, now: float, frames: bytes) -> None:
        """At whole frames, each line with the line's end before it."""
        if tokens := frames.count(self._dialect.token):
            self._count(now, tokens)
        if (at := frames.rfind(_ID)) >= 0:
            self._identified = frames[at + len(_ID) : frames.index(b"\n", at + 1)]
        if b"_tokens" in frames:
            found = tokens_told(frames)
            self.input_tokens = found[0] if found[0] is not None else self.input_tokens
            self.output_tokens = found[1] if found[1] is not None else self.output_tokens
        for mark in self._dialect.errors:
            if (at := frames.find(mark)) >= 0:
                self.ended = error_kind(frames[at:])
                return
        if any(mark in frames for mark in self._dialect.ends):
            self.ended = "whole"

    def _count(self, now: float, tokens: int) -> None:
        self.tokens += tokens
        if self.last_token is None:
            self.first_token = now
        else:
            self._gap(now - self.last_token)
        self.last_token = now

    @property
    def resumable(self) -> bool:
        return self.completion_id is not None and bool(self._identified)

    @property
    def last_event_id(self) -> str:
        return self._identified.decode("latin-1")

    # -- what the service's own headers say (https://www.w3.org/TR/server-timing/)

    @property
    def home(self) -> str | None:
        return _told(_HOME, self.timing)

    @property
    def instance(self) -> str | None:
        return _told(_INSTANCE, self.timing)

    @property
    def start(self) -> str | None:
        """`cold`, `restored` or `warm`."""
        return _told(_START, self.timing)

    @property
    def upstream_ms(self) -> float | None:
        """What the upstream took until its first event."""
        took = _told(_UPSTREAM, self.timing)
        return float(took) if took is not None else None


def _told(pattern: re.Pattern[str], timing: str) -> str | None:
    found = pattern.search(timing)
    return found[1] if found else None
