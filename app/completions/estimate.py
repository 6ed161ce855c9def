"""What a request may come to in tokens, before the upstream has counted: rather too many than too few."""

from typing import Any, Final, Self

import msgspec

from app.domain.completion import CompletionRequest

# English prose has four bytes a token, JSON and other languages have fewer.
_BYTES_PER_TOKEN: Final = 3
# The most that one image comes to (Anthropic's documentation, "Vision").
_IMAGE: Final = 4_800
# A page of text is compressed to a few thousand bytes.
_ENCODED_PER_TOKEN: Final = 2


class Estimate(msgspec.Struct, frozen=True):
    """`turn` has the messages that a conversation keeps, one by one; `input` is all that was sent."""

    turn: list[int]
    input: int
    output: int

    @classmethod
    def of(cls, request: CompletionRequest) -> Self:
        tokens = {id(message): tokens_of(bytes(message.content)) for message in request.messages}
        around = len(msgspec.json.encode(request.body)) // _BYTES_PER_TOKEN
        max_tokens = request.body.get("max_tokens")
        return cls(
            turn=[tokens[id(message)] for message in request.turn],
            input=sum(tokens.values()) + around,
            output=max_tokens if isinstance(max_tokens, int) else 0,
        )


def tokens_of(content: bytes) -> int:
    """A message's content, as JSON."""
    encoded = _encoded(msgspec.json.decode(content)) if b'"base64"' in content else []
    text = len(content) - sum(size for _, size in encoded)
    files = [_IMAGE if kind.startswith("image/") else size // _ENCODED_PER_TOKEN for kind, size in encoded]
    return text // _BYTES_PER_TOKEN + sum(files)


def _encoded(content: Any) -> list[tuple[str, int]]:
    """Media type and size of everything that is there in base64, at any depth."""
    found = []
    left = [content]
    while left:
        match left.pop():
            case {"type": "base64", "data": str(data), **rest}:
                found.append((str(rest.get("media_type", "")), len(data)))
            case dict() as block:
                left.extend(block.values())
            case list() as blocks:
                left.extend(blocks)
    return found
