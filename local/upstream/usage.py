"""Token counts, estimated from sizes and the same for the same request."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from local.upstream.schema import CountRequest, Json, blocks

BYTES_PER_TOKEN = 4
# An image's price follows its pixels, not its bytes.
IMAGE_TOKENS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTokens:
    """The input side of `usage`; what is billed is the sum of the four."""

    uncached: int
    written_5m: int = 0
    written_1h: int = 0
    read: int = 0

    @property
    def total(self) -> int:
        """All tokens of the input."""
        return self.uncached + self.written_5m + self.written_1h + self.read

    def usage(self, output_tokens: int, service_tier: str) -> Json:
        """Return the `usage` object with an output count."""
        return {
            "input_tokens": self.uncached,
            "cache_creation_input_tokens": self.written_5m + self.written_1h,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m,
                "ephemeral_1h_input_tokens": self.written_1h,
            },
            "output_tokens": output_tokens,
            "service_tier": service_tier,
        }


@dataclass(frozen=True, slots=True)
class _Part:
    tokens: int
    cache_control: Json | None
    opens_answer: bool


def count_input(request: CountRequest) -> InputTokens:
    """Count a request's input.

    Everything up to the last `cache_control` is cached. Without memory, what was there before the last assistant turn
    is taken for read, since the request that led to that turn wrote it; the rest of the cached part is written now.
    """
    parts = list(_parts(request))
    total = sum(part.tokens for part in parts)
    marked = [index for index, part in enumerate(parts) if part.cache_control]
    if not marked:
        return InputTokens(uncached=total)
    cached = _sum(parts, marked[-1] + 1)
    read = min(cached, _sum(parts, _last_answer(parts)))
    hour = (parts[marked[-1]].cache_control or {}).get("ttl") == "1h"
    written = cached - read
    return InputTokens(
        uncached=total - cached, read=read, written_1h=written if hour else 0, written_5m=0 if hour else written
    )


def _parts(request: CountRequest) -> Iterator[_Part]:
    yield from (_part(tool) for tool in request.tools or [])
    yield from (_part(block) for block in blocks(request.system))
    for message in request.messages:
        for index, block in enumerate(blocks(message.content)):
            yield _part(block, opens_answer=index == 0 and message.role == "assistant")
    if request.cache_control:
        yield _Part(tokens=0, cache_control=request.cache_control, opens_answer=False)


def _part(block: Json, *, opens_answer: bool = False) -> _Part:
    size = IMAGE_TOKENS if block.get("type") == "image" else len(msgspec.json.encode(block)) // BYTES_PER_TOKEN + 1
    return _Part(tokens=size, cache_control=block.get("cache_control"), opens_answer=opens_answer)


def _sum(parts: list[_Part], end: int) -> int:
    return sum(part.tokens for part in parts[:end])


def _last_answer(parts: list[_Part]) -> int:
    return max((index for index, part in enumerate(parts) if part.opens_answer), default=0)
