"""What the simulated model reads out of a request."""

import re
from dataclasses import dataclass

from local.upstream.schema import Json, MessagesRequest, blocks

QUOTE_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Prompt:
    """The parts of a request that an answer speaks of; a text that is not there is empty."""

    question: str
    earlier: str
    system: str
    turn: int
    tool_results: tuple[str, ...]
    documents: tuple[Json, ...]

    @property
    def words(self) -> frozenset[str]:
        """The question's words in lower case."""
        return frozenset(re.findall(r"[^\W_]+", self.question.lower()))


def read(request: MessagesRequest) -> Prompt:
    """Read a request that passed validation."""
    asked = [message for message in request.messages if message.role == "user"]
    questions = [text for message in asked if (text := _text(blocks(message.content)))]
    last = blocks(asked[-1].content) if asked else []
    return Prompt(
        question=questions[-1] if questions else "",
        earlier=questions[-2] if len(questions) > 1 else "",
        system=_text(blocks(request.system)),
        turn=sum(message.role == "assistant" for message in request.messages) + 1,
        tool_results=tuple(_result(block) for block in last if block["type"] == "tool_result"),
        documents=tuple(block for message in asked for block in blocks(message.content) if block["type"] == "document"),
    )


def quote(text: str) -> str:
    """Return text on one line, shortened, between quotation marks."""
    line = " ".join(text.split())
    return f'"{line}"' if len(line) <= QUOTE_CHARACTERS else f'"{line[:QUOTE_CHARACTERS]}..."'


def _text(content: list[Json]) -> str:
    return "\n".join(str(block.get("text", "")) for block in content if block.get("type") == "text")


def _result(block: Json) -> str:
    said = quote(_text(blocks(block.get("content"))))
    return f"failed with {said}" if block.get("is_error") else f"answered {said}"
