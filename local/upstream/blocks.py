"""Content blocks of an answer, each in the two forms it travels in: started and grown by deltas, or whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from local.upstream.schema import Json
from local.upstream.signatures import sign

# A piece of tool input: short enough to break names and numbers apart.
JSON_PIECE_CHARACTERS = 7


@dataclass(frozen=True, slots=True)
class Block:
    """A block that the model writes piece by piece; a piece is one token and one delta.

    `delta_type` and `delta_key` say how a piece travels.
    """

    delta_type: ClassVar[str] = ""
    delta_key: ClassVar[str] = ""

    pieces: Sequence[str] = ()

    def started(self) -> Json:
        """Return the block as `content_block_start` has it."""
        return self.whole()

    def sent(self) -> Sequence[str]:
        """Return the pieces that become deltas."""
        return self.pieces

    def closing(self) -> Sequence[Json]:
        """Return the deltas that follow the pieces."""
        return ()

    def whole(self) -> Json:
        """Return the block as it is in a message."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Text(Block):
    """Text, with citations when documents are cited."""

    delta_type = "text_delta"
    delta_key = "text"

    citations: Sequence[Json] = ()

    def started(self) -> Json:
        return {"type": "text", "text": "", **({"citations": []} if self.citations else {})}

    def closing(self) -> Sequence[Json]:
        return [{"type": "citations_delta", "citation": citation} for citation in self.citations]

    def whole(self) -> Json:
        cited = {"citations": list(self.citations)} if self.citations else {}
        return {"type": "text", "text": "".join(self.pieces), **cited}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking(Block):
    """A thought and its signature. One that is not `shown` costs as much and comes without its text."""

    delta_type = "thinking_delta"
    delta_key = "thinking"

    nonce: bytes
    shown: bool = True

    def started(self) -> Json:
        return {"type": "thinking", "thinking": "", "signature": ""}

    def sent(self) -> Sequence[str]:
        return self.pieces if self.shown else ()

    def closing(self) -> Sequence[Json]:
        return [{"type": "signature_delta", "signature": self._signature()}]

    def whole(self) -> Json:
        return {"type": "thinking", "thinking": "".join(self.sent()), "signature": self._signature()}

    def _signature(self) -> str:
        return sign("".join(self.sent()), self.nonce)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactedThinking(Block):
    """A thought that nobody may read."""

    nonce: bytes

    def whole(self) -> Json:
        return {"type": "redacted_thinking", "data": sign("", self.nonce)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse(Block):
    """A call of a tool; its pieces make up the input's JSON, and none at all make `{}`."""

    block_type: ClassVar[str] = "tool_use"
    delta_type = "input_json_delta"
    delta_key = "partial_json"

    id: str
    name: str

    def started(self) -> Json:
        return {"type": self.block_type, "id": self.id, "name": self.name, "input": {}}

    def sent(self) -> Sequence[str]:
        return ["", *self.pieces]

    def whole(self) -> Json:
        return {**self.started(), "input": self._input()}

    def _input(self) -> Json:
        try:
            return msgspec.json.decode("".join(self.pieces), type=Json)
        except msgspec.DecodeError:  # nothing to say, or cut off by max_tokens
            return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerToolUse(ToolUse):
    """A call of a tool that the API runs itself."""

    block_type = "server_tool_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearchResult(Block):
    """What a search has found."""

    tool_use_id: str
    found: Sequence[Json]

    def whole(self) -> Json:
        return {"type": "web_search_tool_result", "tool_use_id": self.tool_use_id, "content": list(self.found)}


@dataclass(frozen=True, slots=True)
class Unknown(Block):
    """A block of a type that no client knows yet."""

    def whole(self) -> Json:
        return {"type": "future_block", "payload": {"from": "the future"}}


def json_pieces(written: str) -> list[str]:
    """Split a tool's input into pieces that are no JSON alone."""
    return [written[start : start + JSON_PIECE_CHARACTERS] for start in range(0, len(written), JSON_PIECE_CHARACTERS)]
