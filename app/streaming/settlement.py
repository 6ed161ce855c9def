"""How a completion ends: everything that its last write says, in one value."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from app.domain.completion import Status
from app.domain.errors import AppError
from app.domain.events import Event, error_event, join, split
from app.domain.ids import uuid7
from app.domain.message import MessageFold

# Level 1 is half the CPU of the default and within a tenth of its size on event logs.
_ZLIB_LEVEL: Final = 1
_PIECE: Final = 16_384

MESSAGE_STOP: Final = b'{"type":"message_stop"}'


class Settlement(msgspec.Struct, frozen=True):
    """One row of the SQL function `settle`; its comments say what the columns mean."""

    id: UUID
    status: Status
    end: Event
    log: bytes
    usage: bytes
    bill: str
    stop_reason: str | None = None
    content: bytes | None = None
    error: bytes | None = None
    attempts: int = 0
    first_event_ms: float | None = None
    message_id: UUID | None = None
    answer: bytes | None = None
    forget_input: bool = False


def settlement(
    id: UUID,
    status: Status,
    events: Sequence[Event],
    end: Event,
    fold: MessageFold,
    bill: str,
    *,
    attempts: int,
    first_event_ms: float | None,
    forget_input: bool = False,
) -> Settlement:
    """The end of a completion whose log holds `events` and then `end`; `bill` closes its row in the ledger."""
    completed = status is Status.COMPLETED
    return Settlement(
        id=id,
        status=status,
        end=end,
        log=compress([*events, end]),
        usage=fold.usage(),
        bill=bill,
        stop_reason=fold.stop_reason,
        content=fold.content(),
        error=None if completed else end.data,
        attempts=attempts,
        first_event_ms=first_event_ms,
        message_id=uuid7(),
        answer=fold.answer_content() if completed else fold.kept_content(),
        forget_input=forget_input,
    )


def error_end(seq: int, error: AppError, request_id: str | None) -> Event:
    """The terminal event of a stream that `error` ended."""
    data = error_event(type=error.type, message=error.message, code=error.code, request_id=request_id)
    return Event(seq, "error", data)


def compress(events: Sequence[Event]) -> bytes:
    """The stored form of a finished log."""
    return zlib.compress(join(events), _ZLIB_LEVEL)


def decompress(data: bytes, end_seq: int) -> Iterator[Event]:
    """The events of `compress`, inflated as they are taken: positions 1, 2, 3, … and, for the last, `end_seq`.

    Raises:
        zlib.error, msgspec.MsgspecError: that is not what `data` is.
    """
    seq, begun = 1, b""
    for text in _inflated(data):
        whole, _, begun = (begun + text).rpartition(b"\n")
        if whole:
            events = split(whole, seq)
            yield from events
            seq += len(events)
    yield from split(begun, end_seq)


def _inflated(data: bytes) -> Iterator[bytes]:
    """In pieces of a bounded size, however well they were compressed."""
    inflating = zlib.decompressobj()
    for start in range(0, len(data), _PIECE):
        rest = data[start : start + _PIECE]
        while rest:
            yield inflating.decompress(rest, _PIECE)
            rest = inflating.unconsumed_tail
    yield inflating.flush()
    if not inflating.eof:
        raise zlib.error("incomplete")
