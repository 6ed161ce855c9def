"""The two bodies of a 200: an event stream, or one JSON message.

A fault handles both alike, as pieces with a place to go wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from local.upstream import errors, frames
from local.upstream.answers import Answer
from local.upstream.errors import ApiError
from local.upstream.refusals import OVERLOADED

# With the usual answer: message_start, content_block_start, ping and two words.
DEFAULT_AFTER = 5
EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A whole answer in pieces, and what a fault may put between them.

    `after` is the number of pieces that come before the fault, and at least one comes behind it.
    """

    content_type: str
    pieces: Sequence[bytes]
    after: int
    error: bytes  # tells an error after the status was sent
    not_json: bytes
    bad_utf8: bytes
    half_character: bytes  # ends inside a character of several bytes
    filler: bytes  # may be repeated for ever


def event_stream(answer: Answer, *, request_id: str, after: int | None, unknown_event: bool) -> Body:
    """Return an answer as events, one a piece."""
    pieces = frames.stream(answer, unknown_event=unknown_event)
    # The last two events are those that some faults leave out.
    place = min(DEFAULT_AFTER if after is None else after, len(pieces) - 2)
    index = sum(piece.startswith(b"event: content_block_start") for piece in pieces[:place]) - 1
    word = frames.string_delta(max(index, 0), "text_delta", "text", "word 🙂")
    return Body(
        content_type=EVENT_STREAM,
        pieces=pieces,
        after=place,
        error=frames.frame(errors.body(ApiError(529, OVERLOADED), request_id)),
        not_json=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":\n\n',
        bad_utf8=word.replace("🙂".encode(), b"\xff"),
        half_character=word[: word.index("🙂".encode()) + 2],
        filler=_last_delta(pieces),
    )


def message(answer: Answer) -> Body:
    """Return an answer as JSON in two halves, with the place to go wrong between them."""
    whole = msgspec.json.encode(answer.message())
    middle = len(whole) // 2
    return Body(
        content_type=JSON,
        pieces=(whole[:middle], whole[middle:]),
        after=1,
        error=b"",
        not_json=b'{"',
        bad_utf8=b"\xff",
        half_character="🙂".encode()[:2],
        filler=b" ",
    )


def _last_delta(pieces: Sequence[bytes]) -> bytes:
    deltas = (piece for piece in reversed(pieces) if piece.startswith(b"event: content_block_delta"))
    return next(deltas, frames.PING)
