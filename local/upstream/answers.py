"""What the simulated model answers: the same blocks for the same request, streamed or not."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from local.upstream import speech
from local.upstream.blocks import (
    Block,
    RedactedThinking,
    ServerToolUse,
    Text,
    Thinking,
    ToolUse,
    Unknown,
    json_pieces,
)
from local.upstream.citations import citations
from local.upstream.directives import Directives
from local.upstream.example import example
from local.upstream.prompt import Prompt, quote, read
from local.upstream.schema import Json, MessagesRequest
from local.upstream.tools import Call, calls
from local.upstream.usage import InputTokens, count_input
from local.upstream.web_search import searched

ALWAYS_THINKS = "claude-sim-thinking"
FORCED = ("any", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One message, whole."""

    id: str
    model: str
    blocks: Sequence[Block]
    stop_reason: str
    stop_sequence: str | None
    input_tokens: InputTokens
    searches: int
    service_tier: str

    @property
    def output_tokens(self) -> int:
        """Tokens of all blocks: one a piece."""
        return sum(len(block.pieces) for block in self.blocks)

    @property
    def thinking_tokens(self) -> int:
        """Tokens of the thoughts among them."""
        return sum(len(block.pieces) for block in self.blocks if isinstance(block, Thinking))

    def ending(self) -> Json:
        """Return why the answer ended, as `message_delta` has it."""
        ending: Json = {"stop_reason": self.stop_reason, "stop_sequence": self.stop_sequence}
        if self.stop_reason == "refusal":
            explanation = "The request asked the simulator to refuse."
            ending["stop_details"] = {"type": "refusal", "category": None, "explanation": explanation}
        return ending

    def output_usage(self) -> Json:
        """Return the output side of `usage`."""
        details = {"output_tokens_details": {"thinking_tokens": self.thinking_tokens}} if self.thinking_tokens else {}
        searched = {"web_search_requests": self.searches, "web_fetch_requests": 0}
        return {
            "output_tokens": self.output_tokens,
            **details,
            **({"server_tool_use": searched} if self.searches else {}),
        }

    def usage(self) -> Json:
        """Return the whole `usage`, as it is told in the end."""
        return {**self.input_tokens.usage(0, self.service_tier), **self.output_usage()}

    def message(self) -> Json:
        """Return the message that is the whole answer."""
        return {
            **self.empty_message(),
            "content": [block.whole() for block in self.blocks],
            **self.ending(),
            "usage": self.usage(),
        }

    def empty_message(self) -> Json:
        """Return the message as a stream begins with it."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self.input_tokens.usage(1, self.service_tier),
        }


def compose(request: MessagesRequest, directives: Directives) -> Answer:
    """Return the answer to a request that passed validation."""
    seed = _seed(request)
    written, stop_sequence = _stop(_blocks(request, directives, seed), request.stop_sequences or [])
    blocks, cut = _fit(written, request.max_tokens)
    return Answer(
        id=f"msg_{seed.hex()[:24]}",
        model=request.model,
        blocks=blocks,
        stop_reason=directives.stop_reason or _stop_reason(blocks, cut=cut, stop_sequence=stop_sequence),
        stop_sequence=None if cut else stop_sequence,
        input_tokens=count_input(request),
        searches=directives.searches + sum(isinstance(block, ServerToolUse) for block in blocks),
        service_tier=directives.service_tier,
    )


def _seed(request: MessagesRequest) -> bytes:
    # Without what says how to send it: one answer, streamed or not, and with a fault from the metadata or without.
    asked = msgspec.structs.replace(request, stream=None, metadata=None)
    return hashlib.sha256(msgspec.json.encode(asked)).digest()


def _blocks(request: MessagesRequest, directives: Directives, seed: bytes) -> list[Block]:
    prompt = read(request)
    made = calls(request, prompt) if directives.tokens is None else []
    opening: list[Block] = []
    if directives.redacted:
        opening.append(RedactedThinking(nonce=seed[16:]))
    if _thinks(request):
        opening.append(_thinking(request, prompt, seed))
    if directives.unknown_block:
        opening.append(Unknown())
    if made:
        return [*opening, *_tool_uses(request, made, seed)]
    if directives.tokens is None:
        opening += searched(request, prompt, seed)
    return [*opening, *_texts(request, prompt, directives, seed)]


def _thinks(request: MessagesRequest) -> bool:
    return request.model == ALWAYS_THINKS or (request.thinking or {}).get("type") in ("enabled", "adaptive")


def _thinking(request: MessagesRequest, prompt: Prompt, seed: bytes) -> Thinking:
    shown = (request.thinking or {}).get("display") != "omitted"
    return Thinking(speech.pieces(speech.thought(prompt)), nonce=seed[:16], shown=shown)


def _tool_uses(request: MessagesRequest, made: list[Call], seed: bytes) -> list[Block]:
    names = " and ".join(dict.fromkeys(call.name for call in made))
    forced = (request.tool_choice or {}).get("type") in FORCED
    said = [] if forced else [Text(speech.pieces(f"I will ask {names}."))]
    return [*said, *(_tool_use(call, seed, nth) for nth, call in enumerate(made))]


def _tool_use(call: Call, seed: bytes, nth: int) -> ToolUse:
    written = msgspec.json.encode(call.input).decode() if call.input else ""
    identity = hashlib.sha256(seed + bytes([nth])).hexdigest()[:24]
    return ToolUse(json_pieces(written), id=f"toolu_{identity}", name=call.name)


def _texts(request: MessagesRequest, prompt: Prompt, directives: Directives, seed: bytes) -> list[Block]:
    pieces = speech.pieces(_said(request, prompt, seed))
    if directives.tokens is not None:
        return [Text(speech.stretched(pieces, directives.tokens))]
    # The fault must find as many events as it wants to let pass.
    wanted = max(len(pieces), directives.after or 0)
    cited = [block for citation in citations(prompt) for block in _cited(citation)]
    return [Text(speech.stretched(pieces, wanted)), *cited]


def _said(request: MessagesRequest, prompt: Prompt, seed: bytes) -> str:
    match request.output_config:
        case {"format": {"type": "json_schema", "schema": dict(schema)}}:
            return msgspec.json.encode(example(schema, prompt.question)).decode()
        case _:
            return speech.answer(prompt, request.model, int.from_bytes(seed[:4]))


def _cited(citation: Json) -> list[Block]:
    title = quote(citation["document_title"] or f"document {citation['document_index'] + 1}")
    return [Text(speech.pieces(f" In {title} it says: ")), Text(speech.pieces(citation["cited_text"]), [citation])]


def _stop(blocks: list[Block], sequences: list[str]) -> tuple[list[Block], str | None]:
    """End the answer before the first stop sequence in its text; return what is left and the sequence found."""
    wanted = [sequence for sequence in sequences if sequence]
    for index, block in enumerate(blocks if wanted else ()):
        text = "".join(block.pieces) if isinstance(block, Text) else ""
        if found := min(((text.find(sequence), sequence) for sequence in wanted if sequence in text), default=None):
            position, sequence = found
            return [*blocks[:index], Text(speech.pieces(text[:position]))], sequence
    return blocks, None


def _fit(blocks: list[Block], max_tokens: int) -> tuple[list[Block], bool]:
    """End the answer where `max_tokens` does; return what is left and whether something was cut."""
    kept: list[Block] = []
    left = max_tokens
    for block in blocks:
        if left == 0:
            return kept, True
        kept.append(replace(block, pieces=block.pieces[:left]))
        if len(block.pieces) > left:
            return kept, True
        left -= len(block.pieces)
    return kept, False


def _stop_reason(blocks: list[Block], *, cut: bool, stop_sequence: str | None) -> str:
    if cut:
        return "max_tokens"
    if stop_sequence is not None:
        return "stop_sequence"
    return "tool_use" if any(type(block) is ToolUse for block in blocks) else "end_turn"
