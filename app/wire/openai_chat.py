"""The dialect of OpenAI's Chat Completions: canonical events as chunks, and the message they add up to.

`finish_reason`, the usage and `[DONE]` are sent together at the end of the log: only then is the answer committed, and
an answer that is cut off after the upstream's stop reason must not look like a whole one. Chunks name the model that
the upstream names, so that every reader of a completion sees the same one.
"""

from collections.abc import Sequence
from typing import Final, assert_never
from uuid import UUID

import msgspec
from msgspec import Raw

from app.domain.events import (
    Body,
    CitationsDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UnknownEvent,
    parse,
)
from app.domain.ids import made_at
from app.wire import openai_errors
from app.wire.openai_parts import Annotations, Block, Usage, block_of, finish_reason, refusal

_ROLE: Final = b'{"role":"assistant","content":""}'
_NOTHING: Final = b"{}"


def completion_id(id: UUID) -> str:
    """A completion's id as Chat Completions has it."""
    return f"chatcmpl-{id.hex}"


class OpenAIChatEncoder:
    """`include_usage` asks for the chunk with token counts; `reasoning` lets thoughts out, as `reasoning_content`."""

    def __init__(self, id: UUID, *, include_usage: bool = False, reasoning: bool = False) -> None:
        self._id = id
        self._include_usage = include_usage
        self._reasoning = reasoning
        self._usage: dict[str, Raw] = {}
        self._stop: MessageDelta | None = None
        self._tools = 0
        self._block = Block()
        self._has_input = False
        self._annotations = Annotations()
        self._named("")

    def _named(self, model: str) -> None:
        """Make what every chunk begins and ends with."""
        head = {
            "id": completion_id(self._id),
            "object": "chat.completion.chunk",
            "created": made_at(self._id),
            "model": model,
        }
        self._head = b"data: " + msgspec.json.encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"
        # The model's name is JSON here, so the first line end is the one between the two.
        self._before_text, self._behind_text = self._chunk(b'{"content":\n}').split(b"\n", 1)

    def skip(self, events: Sequence[Event]) -> None:
        for event in events:
            self._frames(event)

    def encode(self, events: Sequence[Event]) -> bytes:
        return b"".join([self._frames(event) for event in events])

    def _frames(self, event: Event) -> bytes:
        """Take one event into the fold; answers what it says."""
        body = parse(event.data)
        match body:
            case ContentBlockDelta(delta=TextDelta(text=text)):  # nearly all there is: written at once
                self._annotations.grow(text)
                return b"id: %d\n%b%b%b" % (event.seq, self._before_text, bytes(text), self._behind_text)
            case MessageStop():
                return self._end(event.seq)
            case Error():
                return b"data: %b\n\nid: %d\ndata: [DONE]\n\n" % (openai_errors.in_stream(body), event.seq)
        delta = self._delta(body)
        return b"id: %d\n%b" % (event.seq, self._chunk(delta)) if delta is not None else b""

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        return b'%b{"index":0,"delta":%b,"finish_reason":%b}%b' % (self._head, delta, reason, self._tail)

    def _end(self, seq: int) -> bytes:
        """The last chunks. Their position is that of `[DONE]`: a reader without it gets all of them again."""
        delta = self._stop.delta if self._stop is not None else None
        frames = []
        if delta is not None and (said := refusal(delta.stop_details)) is not None:
            frames.append(self._chunk(b'{"refusal":%b}' % msgspec.json.encode(said)))
        reason = finish_reason(delta.stop_reason if delta is not None else None)
        frames.append(self._chunk(_NOTHING, b'"%b"' % reason.encode()))
        if self._include_usage:
            usage = msgspec.json.encode(Usage.of(self._usage).told())
            frames.append(b'%b],"usage":%b}\n\n' % (self._head, usage))
        return b"%bid: %d\ndata: [DONE]\n\n" % (b"".join(frames), seq)

    def _delta(self, body: Body) -> bytes | None:
        """The `delta` of the chunk that an event makes, if it makes one."""
        match body:
            case ContentBlockDelta():
                return self._block_delta(body)
            case MessageStart():
                self._named(body.message.model)
                self._usage = dict(body.message.usage)
                return _ROLE
            case ContentBlockStart():
                return self._block_start(body)
            case ContentBlockStop():
                return self._block_stop()
            case MessageDelta():
                self._stop = body
                self._usage |= body.usage
                return None
            case MessageStop() | Ping() | Error() | UnknownEvent():
                return None
        assert_never(body)

    def _block_delta(self, body: ContentBlockDelta) -> bytes | None:
        match body.delta:
            case InputJsonDelta(partial_json=partial_json):
                if self._block.type != "tool_use" or not partial_json:
                    return None
                self._has_input = True
                return self._arguments(partial_json)
            case ThinkingDelta(thinking=thinking):
                return b'{"reasoning_content":%b}' % bytes(thinking) if self._reasoning else None
            case CitationsDelta(citation=citation):
                self._annotations.cite(citation)
                return None
            case SignatureDelta() | TextDelta():
                return None
        assert_never(body.delta)

    def _block_start(self, body: ContentBlockStart) -> bytes | None:
        self._block = block_of(body.content_block)
        self._has_input = False
        self._annotations.begin()
        match self._block.type:
            case "tool_use":
                call = self._block.call("")
                self._tools += 1
                return msgspec.json.encode({"tool_calls": [{"index": self._tools - 1, **call}]})
            case "text" if bytes(self._block.text) != b'""':
                self._annotations.grow(self._block.text)
                return b'{"content":%b}' % bytes(self._block.text)
            case "thinking" if self._reasoning and bytes(self._block.thinking) != b'""':
                return b'{"reasoning_content":%b}' % bytes(self._block.thinking)
        return None

    def _block_stop(self) -> bytes | None:
        """What a block says by its end: a call without a word of input has an empty one, which clients parse too."""
        block, self._block = self._block, Block()
        if block.type == "tool_use" and not self._has_input:
            return self._arguments(block.arguments())
        if annotations := self._annotations.end():
            return msgspec.json.encode({"annotations": annotations})
        return None

    def _arguments(self, piece: str) -> bytes:
        return msgspec.json.encode({"tool_calls": [{"index": self._tools - 1, "function": {"arguments": piece}}]})
