"""The five dialects, and what each of them can tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.domain.events import Event
from app.wire.anthropic_messages import AnthropicMessagesEncoder
from app.wire.openai_chat import OpenAIChatEncoder
from app.wire.openai_response import Head
from app.wire.openai_responses import OpenAIResponsesEncoder
from app.wire.plain import PlainEncoder
from app.wire.sse import Encoder
from app.wire.ui_message import UiMessageEncoder

ID: Final = UUID("0197a000-0000-7000-8000-000000000001")
HEAD: Final = Head(ID, "claude-sim", {"max_tokens": 5})


@dataclass(frozen=True)
class Dialect:
    """`server_calls` says whether it tells of tools that the upstream runs."""

    name: str
    encoder: Callable[[], Encoder]
    server_calls: bool

    def replay(self, events: Sequence[Event], after: int = 0) -> bytes:
        """What a reader gets who has had everything up to `after`."""
        encoder = self.encoder()
        opening = encoder.begin() if isinstance(encoder, OpenAIResponsesEncoder) and not after else b""
        encoder.skip([event for event in events if event.seq <= after])
        return opening + encoder.encode([event for event in events if event.seq > after])


PLAIN: Final = Dialect("plain", PlainEncoder, True)
ANTHROPIC: Final = Dialect("anthropic_messages", AnthropicMessagesEncoder, True)
CHAT: Final = Dialect("openai_chat", lambda: OpenAIChatEncoder(ID, include_usage=True, reasoning=True), False)
RESPONSES: Final = Dialect("openai_responses", lambda: OpenAIResponsesEncoder(HEAD), False)
UI: Final = Dialect("ui_message", lambda: UiMessageEncoder(ID), True)

DIALECTS: Final = (PLAIN, ANTHROPIC, CHAT, RESPONSES, UI)
