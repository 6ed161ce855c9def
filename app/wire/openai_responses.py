"""The dialect of OpenAI's Responses API (its reference, "Streaming events").

`sequence_number` counts the frames of a response from 0. It follows from the events alone, so that every reader counts
alike, on whatever instance. The first two frames need no event: they are `begin`.
"""

from collections.abc import Sequence
from typing import assert_never

from app.domain.events import (
    Body,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    UnknownEvent,
    parse,
)
from app.domain.message import MessageFold
from app.wire.openai_frames import Frames
from app.wire.openai_item_frames import ItemFrames
from app.wire.openai_response import COMPLETED, IN_PROGRESS, Ending, Head, ending, failure, refusal, response, usage_of


class OpenAIResponsesEncoder:
    """`starting_after` is the last sequence number that the reader has had."""

    def __init__(self, head: Head, starting_after: int = -1) -> None:
        self._head = head
        self._frames = Frames(starting_after)
        self._items = ItemFrames(head.id, self._frames)
        self._fold = MessageFold()
        self._begun = self._closed = False
        self._seq = 0

    def begin(self) -> bytes:
        """The frames before the first event, for a reader that begins there."""
        self._begin()
        return self._frames.take(None)

    def skip(self, events: Sequence[Event]) -> None:
        self.encode(events)

    def encode(self, events: Sequence[Event]) -> bytes:
        if events and not self._begun:
            self._begin()
        return b"".join([self._encode(event) for event in events])

    def _encode(self, event: Event) -> bytes:
        body = parse(event.data)
        self._fold.apply(body)
        if type(body) is ContentBlockDelta:
            self._seq = event.seq
            if (frame := self._items.growth(body.delta, event.seq)) is not None:  # nearly all there is
                return frame
            self._items.delta(body.delta)
        else:
            self._take(event.seq, body)
            self._seq = event.seq
        return self._frames.take(event.seq)

    def _take(self, seq: int, body: Body) -> None:
        match body:
            case ContentBlockStart():
                if block := self._fold.block(body.index):
                    self._items.start(block)
            case ContentBlockStop():
                self._items.stop()
            case MessageDelta():
                if body.delta.stop_reason is not None:
                    self._close()
            case MessageStop():
                self._finish()
            case Error():
                self._fail(seq, body)
            case ContentBlockDelta() | MessageStart() | Ping() | UnknownEvent():
                pass
            case _:
                assert_never(body)

    def _begin(self) -> None:
        self._begun = True
        started = {"response": response(self._head, Ending(IN_PROGRESS))}
        self._frames.add(b"response.created", started)
        self._frames.add(b"response.in_progress", started)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            reason = self._fold.stop_reason
            refused = refusal(reason, self._fold.stop_details)
            self._items.close(whole=ending(reason).status == COMPLETED, refused=refused)

    def _finish(self) -> None:
        self._close()
        how = ending(self._fold.stop_reason)
        self._end(b"response.completed" if how.status == COMPLETED else b"response.incomplete", how)

    def _fail(self, seq: int, error: Error) -> None:
        """A client has no event for what was cancelled, so that fails too; the object says what it was."""
        if seq > self._seq + 1:  # events were lost that this reader may have had: it hears of the end all the same
            self._frames.pass_over_lost()
        self._items.give_up()
        self._end(b"response.failed", failure(error))

    def _end(self, kind: bytes, how: Ending) -> None:
        whole = response(self._head, how, self._items.output, usage_of(self._fold.usage()))
        self._frames.add(kind, {"response": whole})
