"""What came before a request: the messages of its conversation, or those of a chain of completions."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from app.completions.repository import Admission
from app.domain.completion import SYSTEM, NewMessage


class StoredRequest(msgspec.Struct, frozen=True):
    """What `completions.request` holds, as far as a history needs it."""

    messages: list[NewMessage] = []


def history(admission: Admission) -> Iterator[NewMessage]:
    """The messages before the new ones, in order."""
    for role, content in zip(admission.history_roles or (), admission.history_contents or (), strict=True):
        yield NewMessage(role, Raw(content))
    for request, answer in zip(admission.chain_requests or (), admission.chain_answers or (), strict=True):
        yield from msgspec.json.decode(request, type=StoredRequest).messages
        if answer is not None and answer != b"[]":
            yield NewMessage("assistant", Raw(answer))


def lift_system(body: dict[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put messages of the role system at the end of the body's `system`; answers the others."""
    texts = [text for message in messages if message["role"] == SYSTEM for text in _texts(message["content"])]
    if texts:
        before = body.get("system")
        joined = "\n".join(texts)
        if isinstance(before, list):
            body["system"] = [*before, {"type": "text", "text": joined}]
        else:
            body["system"] = f"{before}\n{joined}" if before else joined
    return [message for message in messages if message["role"] != SYSTEM]


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else []
    return [str(block.get("text", "")) for block in blocks if isinstance(block, dict)]
