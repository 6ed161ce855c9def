"""The fold from events to a message: content blocks, usage and the reason it stopped.

Text and signatures are put together as JSON string bytes and never decoded, so that what is stored and replayed
later equals what was streamed, byte for byte; a signed thinking block that changed in one byte is refused upstream.
"""

from typing import Final, assert_never

import msgspec
from msgspec import Raw

from app.domain.events import (
    NULL,
    Body,
    CitationsDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Delta,
    Error,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UnknownEvent,
    well_formed,
)

# A stream cut before its last usage count is booked at this many bytes of output a token, as an estimate.
BYTES_PER_TOKEN: Final = 4
# Deltas are put together so many at a time: one by one, each would find the parts of its block in memory that is cold.
_AT_ONCE: Final = 64

_EMPTY: Final = Raw(b'""')


class Block:
    """One content block while it grows."""

    def __init__(self, start: dict[str, Raw]) -> None:
        self._fields = start
        self.type = msgspec.json.decode(start["type"], type=str)
        self._strings: dict[str, bytearray] = {}
        self._input = ""
        self._citations: list[Raw] = []
        self._output_bytes = 0
        # Deltas that have come and are not put together yet.
        self.new: list[Delta] = []
        self.complete = False

    def put_together(self) -> None:
        for delta in self.new:
            self._apply(delta)
        self.new.clear()

    def _apply(self, delta: Delta) -> None:
        match delta:
            case TextDelta():
                self._append("text", delta.text)
            case ThinkingDelta():
                self._append("thinking", delta.thinking)
            case SignatureDelta():
                self._fields["signature"] = Raw(bytes(delta.signature))
            case InputJsonDelta():
                self._input += delta.partial_json
                self._output_bytes += len(delta.partial_json)
            case CitationsDelta():
                self._citations.append(Raw(bytes(delta.citation)))
            case _:
                assert_never(delta)

    def _append(self, field: str, string: Raw) -> None:
        inner = bytes(string)[1:-1]
        if field not in self._strings:
            self._strings[field] = bytearray(bytes(self._fields.get(field, _EMPTY))[1:-1])
        self._strings[field] += inner
        self._output_bytes += len(inner)

    def output_bytes(self) -> int:
        """How many bytes of output its deltas have brought."""
        self.put_together()
        return self._output_bytes

    def fields(self) -> dict[str, Raw]:
        """The block as it stands, each field as raw JSON, in the order of its start event."""
        self.put_together()
        fields = self._fields | {name: Raw(b'"%b"' % bytes(inner)) for name, inner in self._strings.items()}
        if self._input:
            fields["input"] = _json_or_empty_object(self._input)
        if self._citations:
            fields["citations"] = Raw(msgspec.json.encode(self._citations))
        return fields

    def is_empty_text(self) -> bool:
        return self.type == "text" and bytes(self.fields().get("text", _EMPTY)) == bytes(_EMPTY)


def _json_or_empty_object(text: str) -> Raw:
    """Tool input cut short by `max_tokens` is no JSON; the block must still be a valid one."""
    json = well_formed(text.encode())
    try:
        msgspec.json.decode(json)
    except msgspec.DecodeError:
        return Raw(b"{}")
    return Raw(json)


class MessageFold:
    """Takes events one by one and holds what they add up to."""

    def __init__(self) -> None:
        self.id = ""
        self.model = ""
        self.started = False
        self.stop_reason: str | None = None
        self.stop_sequence: str | None = None
        self.stop_details = NULL
        self._blocks: dict[int, Block] = {}
        self._usage: dict[str, Raw] = {}
        self._final_usage = False
        # The block that grows, and its new deltas: nearly all there is goes there.
        self._grows = -1
        self._new: list[Delta] = []

    def apply(self, body: Body) -> None:
        """
        Raises:
            KeyError, msgspec.MsgspecError: it starts a block that is none.
        """
        match body:
            case ContentBlockDelta():
                if body.index != self._grows or len(self._new) == _AT_ONCE:
                    self._turn_to(body.index)
                self._new.append(body.delta)
            case ContentBlockStart():
                self._grows = -1
                self._blocks[body.index] = Block(msgspec.json.decode(body.content_block, type=dict[str, Raw]))
            case ContentBlockStop():
                if block := self._blocks.get(body.index):
                    block.complete = True
            case MessageStart():
                self.started = True
                self.id, self.model = body.message.id, body.message.model
                self._usage = dict(body.message.usage)
            case MessageDelta():
                self.stop_reason, self.stop_sequence = body.delta.stop_reason, body.delta.stop_sequence
                self.stop_details = body.delta.stop_details
                self._usage |= body.usage
                self._final_usage = True
            case MessageStop() | Ping() | Error() | UnknownEvent():
                pass
            case _:
                assert_never(body)

    def _turn_to(self, index: int) -> None:
        """What grows where no block was started is of no use to anybody."""
        block = self._blocks.get(index)
        if block is not None:
            block.put_together()
        self._grows, self._new = index, block.new if block is not None else []

    def block(self, index: int) -> Block | None:
        return self._blocks.get(index)

    def content(self) -> bytes:
        """All blocks as a JSON array, the unfinished ones as far as they came."""
        return msgspec.json.encode([block.fields() for block in self._blocks.values()])

    def answer_content(self) -> bytes | None:
        """What a conversation keeps of a whole answer: all but empty texts, which the next turn must not hold."""
        kept = [block.fields() for block in self._blocks.values() if not block.is_empty_text()]
        return msgspec.json.encode(kept) if kept else None

    def kept_content(self) -> bytes | None:
        """What a conversation keeps of an unfinished answer: complete text blocks only, None where there is none.

        The next turn would fail upstream with an unsigned thinking block, a dangling `tool_use` or an empty text.
        """
        kept = [
            block.fields()
            for block in self._blocks.values()
            if block.complete and block.type == "text" and not block.is_empty_text()
        ]
        return msgspec.json.encode(kept) if kept else None

    def usage(self) -> bytes:
        """Token counts as a JSON object; `estimated` is true where the upstream's last count never came."""
        if self._final_usage:
            return msgspec.json.encode(self._usage)
        counted = msgspec.json.decode(self._usage.get("output_tokens", Raw(b"0")))
        supposed = -(-sum(block.output_bytes() for block in self._blocks.values()) // BYTES_PER_TOKEN)
        output = max(counted if isinstance(counted, int) else 0, supposed)
        return msgspec.json.encode({**self._usage, "output_tokens": output, "estimated": True})

    def answer(self) -> bytes:
        """The message as the Messages API answers without streaming, as JSON."""
        message = {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": Raw(self.content()),
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            **({"stop_details": self.stop_details} if bytes(self.stop_details) != b"null" else {}),
            "usage": self._usage,
        }
        return msgspec.json.encode(message)
