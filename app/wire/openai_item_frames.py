"""From content blocks, while they grow, to the frames and the items of OpenAI's Responses API."""

from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Raw

from app.domain.events import CitationsDelta, Delta, InputJsonDelta, TextDelta, ThinkingDelta, well_formed
from app.domain.message import Block
from app.wire.openai_call_frames import CallFrames
from app.wire.openai_frames import Frames
from app.wire.openai_items import (
    COMPLETED,
    IN_PROGRESS,
    INCOMPLETE,
    Item,
    annotation,
    block_item,
    block_part,
    function_call,
    item_id,
    message,
    reasoning,
    refusal_part,
    string,
    text_part,
)
from app.wire.openai_output import item_type_of
from app.wire.openai_server_calls import answered_by, call_type_of

_EMPTY: Final = Raw(b'""')
_encode: Final = msgspec.json.Encoder().encode

# Frames of a block that grows, in the form of `Frames.only`.
_TEXT: Final = (
    b"id: %%d\nevent: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%%d,'
    b'"item_id":"%b","output_index":%d,"content_index":%d,"delta":%%b,"logprobs":[]}\n\n'
)
_THOUGHT: Final = (
    b"id: %%d\nevent: response.reasoning_summary_text.delta\n"
    b'data: {"type":"response.reasoning_summary_text.delta","sequence_number":%%d,'
    b'"item_id":"%b","output_index":%d,"summary_index":0,"delta":%%b}\n\n'
)
_ARGUMENTS: Final = (
    b"id: %%d\nevent: response.function_call_arguments.delta\n"
    b'data: {"type":"response.function_call_arguments.delta","sequence_number":%%d,'
    b'"item_id":"%b","output_index":%d,"delta":%%b}\n\n'
)


class ItemFrames:
    """One item is open at a time: a message until something else begins, any other until its block ends.

    Only calls of the upstream's own tools stay open beside it, until their result comes.
    """

    def __init__(self, completion: UUID, frames: Frames) -> None:
        self.output: list[Item] = []
        self._completion = completion
        self._frames = frames
        self._item = ""  # the id of the open item
        self._form = b""  # of the frames of what grows, once it needs nothing but them
        self._grows_by: type[Delta] | None = None
        self._block: Block | None = None  # what grows in it
        self._parts: list[Item] = []
        self._grown = 0  # deltas of the block that were shown in frames of their own
        self._arguments: list[str] = []
        self._calls = CallFrames(completion, frames, self.output)

    def start(self, block: Block) -> None:
        fields = block.fields()
        item_type = item_type_of(fields)
        self._block = block if item_type else None
        self._grows_by = None
        self._grown = 0
        if item_type == "message":
            self._open_message()
            self._in_part(b"response.content_part.added", part=text_part(_EMPTY))
            self._grow_by(TextDelta, _TEXT % (self._item.encode(), len(self.output), len(self._parts)))
            if bytes(text := block.fields().get("text", _EMPTY)) != b'""':
                self._in_part(b"response.output_text.delta", delta=text, logprobs=[])
        elif answered_by(fields) is not None:
            self._calls.result(block)
        elif item_type is not None:
            self._close_message()
            if call_type_of(fields):
                return self._calls.start(item_type, block)
            self._open(item_type)
            self._added(self._begun(block))
            if block.type == "thinking":
                self._think(block.fields().get("thinking", _EMPTY))
            elif block.type == "tool_use":
                self._grow_by(InputJsonDelta, _ARGUMENTS % (self._item.encode(), len(self.output)))

    def _grow_by(self, delta: type[Delta], form: bytes) -> None:
        self._grows_by, self._form = delta, form

    def growth(self, delta: Delta, seq: int) -> bytes | None:
        """The frame of most events; None for a delta that does not just let its block grow."""
        if type(delta) is not self._grows_by:
            return None
        if type(delta) is TextDelta:
            json = bytes(delta.text)
        elif type(delta) is ThinkingDelta:
            json = bytes(delta.thinking)
        else:
            assert type(delta) is InputJsonDelta
            self._arguments.append(delta.partial_json)
            json = _encode(delta.partial_json)
        return self._frames.only(self._form, seq, json) if json != b'""' else b""

    def delta(self, delta: Delta) -> None:
        if self._block is None:
            return
        match self._block.type, delta:
            case "text", CitationsDelta(citation=citation):
                self._annotate(self._block, msgspec.json.decode(citation))
            case "thinking", ThinkingDelta(thinking=thinking):
                self._think(thinking)
            case "server_tool_use" | "mcp_tool_use", InputJsonDelta(partial_json=piece) if piece:
                self._calls.grow(piece)

    def stop(self) -> None:
        """The end of the block that grows."""
        block, self._block, self._grows_by = self._block, None, None
        if block is None:
            return
        match block.type:
            case "text":
                part = block_part(block.fields())
                self._in_part(b"response.output_text.done", text=part["text"], logprobs=[])
                self._in_part(b"response.content_part.done", part=part)
                self._parts.append(part)
            case "tool_use":
                self._call(block)
            case "server_tool_use" | "mcp_tool_use":
                self._calls.stop(block)
            case _:
                self._thought(block)

    def close(self, *, whole: bool = True, refused: str | None = None) -> None:
        """The end of the answer: of what is still open, and of the refusal, if it was `refused`."""
        self._calls.close()
        if refused is not None:
            self._open_message()
            self._refuse(refused)
        self._close_message(whole=whole)

    def _close_message(self, *, whole: bool = True) -> None:
        if self._item:
            self._done(message(self._item, COMPLETED if whole else INCOMPLETE, self._parts))
            self._parts = []

    def give_up(self) -> None:
        """Keep what there is of the open item, and tell nothing of it: it is not done."""
        self._calls.give_up()
        if not self._item:
            return
        if self._block is None or self._block.type == "text":
            growing = [] if self._block is None else [block_part(self._block.fields())]
            self.output.append(message(self._item, INCOMPLETE, [*self._parts, *growing]))
        elif self._block.type == "tool_use":
            self.output.append(self._call_item(self._block, INCOMPLETE, "".join(self._arguments)))
        else:
            self.output.append(block_item(self._item, INCOMPLETE, self._block.fields()))

    # -- items

    def _open(self, item_type: str) -> None:
        self._item = item_id(self._completion, item_type, len(self.output))

    def _open_message(self) -> None:
        if not self._item:
            self._open("message")
            self._added(message(self._item, IN_PROGRESS, []))

    def _begun(self, block: Block) -> Item:
        if block.type == "tool_use":
            self._arguments = []
            return self._call_item(block, IN_PROGRESS, "")
        return reasoning(self._item, IN_PROGRESS, None, None)

    def _call_item(self, block: Block, status: str, arguments: str) -> Item:
        fields = block.fields()
        return function_call(self._item, status, string(fields.get("id")), string(fields.get("name")), arguments)

    def _added(self, item: Item) -> None:
        self._frames.add(b"response.output_item.added", {"output_index": len(self.output), "item": item})

    def _done(self, item: Item) -> None:
        self._frames.add(b"response.output_item.done", {"output_index": len(self.output), "item": item})
        self.output.append(item)
        self._item = ""

    # -- what is inside them

    def _in_item(self, kind: bytes, **fields: Any) -> None:
        self._frames.add(kind, {"item_id": self._item, "output_index": len(self.output), **fields})

    def _in_part(self, kind: bytes, **fields: Any) -> None:
        self._in_item(kind, content_index=len(self._parts), **fields)

    def _annotate(self, block: Block, citation: Any) -> None:
        cited = annotation(citation, len(string(block.fields().get("text"))))
        index, self._grown = self._grown, self._grown + 1
        self._in_part(b"response.output_text.annotation.added", annotation_index=index, annotation=cited)

    def _think(self, thinking: Raw) -> None:
        if bytes(thinking) == b'""':
            return
        if not self._grown:
            part = {"type": "summary_text", "text": ""}
            self._in_item(b"response.reasoning_summary_part.added", summary_index=0, part=part)
            self._grow_by(ThinkingDelta, _THOUGHT % (self._item.encode(), len(self.output)))
        self._grown += 1
        self._in_item(b"response.reasoning_summary_text.delta", summary_index=0, delta=thinking)

    def _thought(self, block: Block) -> None:
        item = block_item(self._item, COMPLETED, block.fields())
        if self._grown:
            text = block.fields()["thinking"]
            self._in_item(b"response.reasoning_summary_text.done", summary_index=0, text=text)
            part = {"type": "summary_text", "text": text}
            self._in_item(b"response.reasoning_summary_part.done", summary_index=0, part=part)
        self._done(item)

    def _argue(self, piece: str) -> None:
        self._arguments.append(piece)
        self._in_item(b"response.function_call_arguments.delta", delta=piece)

    def _call(self, block: Block) -> None:
        if not any(self._arguments):  # also for those who only add up what grows
            self._argue(bytes(block.fields().get("input", Raw(b"{}"))).decode())
        arguments = "".join(self._arguments)
        item = self._call_item(block, COMPLETED if _is_json(arguments) else INCOMPLETE, arguments)
        self._in_item(b"response.function_call_arguments.done", name=item["name"], arguments=arguments)
        self._done(item)

    def _refuse(self, refused: str) -> None:
        self._in_part(b"response.content_part.added", part=refusal_part(""))
        self._in_part(b"response.refusal.delta", delta=refused)
        self._in_part(b"response.refusal.done", refusal=refused)
        self._in_part(b"response.content_part.done", part=refusal_part(refused))
        self._parts.append(refusal_part(refused))


def _is_json(text: str) -> bool:
    """Arguments that `max_tokens` cut are none."""
    try:
        msgspec.json.decode(well_formed(text.encode()))
    except msgspec.DecodeError:
        return False
    return True
