"""The AI SDK's UI message stream, version 1: what `useChat` reads.

One JSON object a frame, `[DONE]` at the end, and a grammar that clients enforce: they throw at an unknown `type`, and
at a delta, an end or a result of something that was not started. `ui_message_blocks` has the parts of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec
from msgspec import Raw

from app.domain.events import (
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
from app.wire.ui_message_blocks import Block, Part, Tools, open_block, tool_result

# Beside those of every event stream.
HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}

_FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}
_DONE: Final = b"[DONE]"


class Step(msgspec.Struct, frozen=True):
    """An earlier answer of the same turn, and what the client's tools made of it; both are content blocks as JSON."""

    answer: bytes
    results: bytes
    completion_id: str = ""


class UiMessageEncoder:
    """One assistant message, from `start` to `[DONE]`.

    `completion_id` is told in the metadata, and is the message's id unless `message_id` says otherwise: an answer to
    the results of client-side tools goes on with the message that called them. A replay of it begins with the steps
    `before`.
    """

    def __init__(self, completion_id: UUID, *, message_id: str | None = None, before: Sequence[Step] = ()) -> None:
        self._completion_id = str(completion_id)
        self._message_id = message_id or (before[0].completion_id if before else "") or self._completion_id
        self._before = before
        self._begun = False
        self._tools = Tools()
        self._blocks: dict[int, Block] = {}
        self._usage: dict[str, Raw] = {}
        self._stop_reason: str | None = None

    def skip(self, events: Sequence[Event]) -> None:
        for event in events:
            self._datas(event)

    def encode(self, events: Sequence[Event]) -> bytes:
        return b"".join([_frames(event.seq, self._datas(event)) for event in events])

    def _datas(self, event: Event) -> list[bytes]:
        """What each frame of an event holds."""
        body = parse(event.data)
        match body:
            case ContentBlockDelta():
                return self._delta(body)
            case ContentBlockStart():
                return [*self._begin(), *_json(self._open(body))]
            case ContentBlockStop():
                block = self._blocks.pop(body.index, None)
                return _json(block.stop()) if block else []
            case MessageStart():
                self._usage = dict(body.message.usage)
                return self._begin()
            case MessageDelta():
                self._stop_reason = body.delta.stop_reason
                self._usage |= body.usage
                return []
            case MessageStop():
                reason = _FINISH_REASONS.get(self._stop_reason or "", "other")
                return [*self._begin(), *_json(self._cut("")), *_json(self._finish(reason)), _DONE]
            case Error():
                return [*self._begin(), *_json(self._fail(body)), _DONE]
            case UnknownEvent():
                # Transient: the page's `onData` may look at it, the message does not keep it.
                return _json([{"type": "data-anthropic", "data": Raw(event.data), "transient": True}])
            case Ping():
                return []
        assert_never(body)

    def _delta(self, body: ContentBlockDelta) -> list[bytes]:
        block = self._blocks.get(body.index)
        if block is None:
            return []
        grown = block.growth(body.delta)
        return [grown] if grown is not None else _json(block.delta(body.delta))

    def _open(self, body: ContentBlockStart) -> Iterator[Part]:
        yield from self._end(body.index)
        block, parts = open_block(body.index, msgspec.json.decode(body.content_block, type=dict[str, Raw]), self._tools)
        if block is not None:
            self._blocks[body.index] = block
        yield from parts

    def _end(self, index: int) -> Iterator[Part]:
        """An index that is taken again without a stop."""
        if block := self._blocks.pop(index, None):
            yield from block.stop()

    def _begin(self) -> list[bytes]:
        if self._begun:
            return []
        self._begun = True
        metadata = {"completionId": self._completion_id}
        return _json(
            [
                {"type": "start", "messageId": self._message_id, "messageMetadata": metadata},
                *[part for step in self._before for part in _replay(step, self._tools)],
                {"type": "start-step"},
            ]
        )

    def _finish(self, reason: str) -> Iterator[Part]:
        metadata = {"completionId": self._completion_id, **_tokens(self._usage)}
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": reason, "messageMetadata": metadata}

    def _fail(self, body: Error) -> Iterator[Part]:
        code = body.error.details.error_code if body.error.details else ""
        match code:
            case "cancelled":
                # An errored tool call counts as answered: some clients would send it back at once. So it stays open.
                yield from self._cut(None)
                yield {"type": "abort", "reason": body.error.message}
            case "interrupted":
                yield from self._cut(body.error.message)
                yield from self._finish("interrupted")
            case _:
                yield from self._cut(body.error.message)
                yield {"type": "error", "errorText": body.error.message or "The answer ended with an error."}

    def _cut(self, reason: str | None) -> Iterator[Part]:
        """Close what is open."""
        blocks, self._blocks = self._blocks, {}
        for block in blocks.values():
            yield from block.cut(reason)


def _replay(step: Step, tools: Tools) -> Iterator[Part]:
    yield {"type": "start-step"}
    for index, fields in enumerate(_blocks(step.answer)):
        block, parts = open_block(index, fields, tools)
        yield from parts
        if block is not None:
            yield from block.stop()
    for fields in _blocks(step.results):
        if fields.get("type") == Raw(b'"tool_result"'):
            yield from tool_result(fields, tools)
    yield {"type": "finish-step"}


def _blocks(content: bytes) -> list[dict[str, Raw]]:
    if content.startswith(b'"'):
        return [{"type": Raw(b'"text"'), "text": Raw(content)}]
    return msgspec.json.decode(content, type=list[dict[str, Raw]])


def _tokens(usage: Mapping[str, Raw]) -> dict[str, int]:
    """Counts as the clients' own servers name them; all input is billed, cached or not."""
    cached = _count(usage, "cache_read_input_tokens")
    read = _count(usage, "input_tokens") + _count(usage, "cache_creation_input_tokens") + cached
    written = _count(usage, "output_tokens")
    return {
        "inputTokens": read,
        "cachedInputTokens": cached,
        "outputTokens": written,
        "totalTokens": read + written,
    }


def _count(usage: Mapping[str, Raw], name: str) -> int:
    value: Any = msgspec.json.decode(usage.get(name, Raw(b"0")))
    return value if isinstance(value, int) else 0


def _json(parts: Iterator[Part] | Sequence[Part]) -> list[bytes]:
    return [msgspec.json.encode(part) for part in parts]


def _frames(seq: int, datas: Sequence[bytes]) -> bytes:
    """Only the last frame has the position: a reader that is cut off between them gets all of them again."""
    if not datas:
        return b""
    before = b"".join([b"data: %b\n\n" % data for data in datas[:-1]])
    return b"%bid: %d\ndata: %b\n\n" % (before, seq, datas[-1])
