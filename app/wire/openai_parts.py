"""What Chat Completions says of content blocks, citations, usage and ends, streamed or not."""

from typing import Any, Final, Self

import msgspec
from msgspec import Raw

_FINISH_REASONS: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: str | None) -> str:
    """What ends for a reason that has no word here has still ended by itself."""
    return _FINISH_REASONS.get(stop_reason or "", "stop")


class _StopDetails(msgspec.Struct, frozen=True):
    explanation: str | None = None


def refusal(stop_details: Raw) -> str | None:
    """Why the model refused, in its own words if it gave any."""
    try:
        details = msgspec.json.decode(stop_details, type=_StopDetails | None)
    except msgspec.ValidationError:
        return None
    return details.explanation if details is not None else None


class Block(msgspec.Struct, frozen=True):
    """A content block, as much of it as Chat Completions can say. One without a type says nothing."""

    type: str = ""
    text: Raw = Raw(b'""')
    thinking: Raw = Raw(b'""')
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")
    citations: list[Raw] | None = None

    def arguments(self) -> str:
        """The input as JSON text."""
        return bytes(self.input).decode()

    def call(self, arguments: str) -> dict[str, Any]:
        """A `tool_use` block as a tool call."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


_STRING: Final = msgspec.json.Decoder(str)
_BLOCK: Final = msgspec.json.Decoder(Block)


def block_of(json: Raw) -> Block:
    """A block whose fields are not what they should be counts as one of the future."""
    try:
        return _BLOCK.decode(json)
    except msgspec.ValidationError:
        return Block()


class _UrlCitation(msgspec.Struct, frozen=True):
    url: str
    title: str | None = None


class Annotations:
    """Citations of web pages, each for the whole text block that it stands in. Others have no form here."""

    def __init__(self) -> None:
        self._start = 0
        self._end = 0
        self._cited: list[_UrlCitation] = []

    def begin(self) -> None:
        """A block begins."""
        self._start = self._end
        self._cited = []

    def grow(self, text: Raw) -> None:
        """The block has more text: positions are characters of the answer's text."""
        self._end += len(_STRING.decode(text))

    def cite(self, citation: Raw) -> None:
        try:
            self._cited.append(msgspec.json.decode(citation, type=_UrlCitation))
        except msgspec.ValidationError:
            return

    def end(self) -> list[dict[str, Any]]:
        """The block's annotations; it has no more."""
        place = {"start_index": self._start, "end_index": self._end}
        cited, self._cited = self._cited, []
        return [
            {"type": "url_citation", "url_citation": {**place, "url": citation.url, "title": citation.title or ""}}
            for citation in cited
        ]


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Anthropic's token counts. What is cached counts apart from `input_tokens`; in OpenAI's counts it is a part."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None

    @classmethod
    def of(cls, counts: dict[str, Raw] | bytes) -> Self:
        """Counts that cannot be read are none."""
        json = counts if isinstance(counts, bytes) else msgspec.json.encode(counts)
        try:
            return msgspec.json.decode(json, type=cls)
        except msgspec.ValidationError:
            return cls()

    def told(self) -> dict[str, Any]:
        """As Chat Completions has it."""
        read, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        prompt, completion = (self.input_tokens or 0) + read + written, self.output_tokens or 0
        thinking = self.output_tokens_details.thinking_tokens if self.output_tokens_details is not None else None
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": thinking or 0},
        }
