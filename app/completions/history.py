"""What came before a request: the messages of its conversation, or those of a chain of completions."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.completions.repository import Admission
from app.domain.completion import SYSTEM, NewMessage
from app.domain.errors import AppError, Conflict, InvalidRequest, NotFound

# What stands for good against going on from a completion, by the outcome of the SQL function `admit`.
PREVIOUS: Final = ("no_previous", "previous_not_stored", "previous_in_conversation", "previous_deleted")

_PARAM: Final = "previous_response_id"


class StoredRequest(msgspec.Struct, frozen=True):
    """What `completions.request` holds, as far as a history needs it."""

    messages: list[NewMessage] = []


def previous_error(outcome: str) -> AppError:
    match outcome:
        case "no_previous":
            return NotFound("There is no such previous response.", code="previous_response_not_found", param=_PARAM)
        case "previous_deleted":
            return NotFound(
                "A response further back in this chain was deleted.", code="previous_response_not_found", param=_PARAM
            )
        case "previous_not_stored":
            return InvalidRequest(
                "The previous response was not stored (`store: false`): send its items as `input` instead.",
                code="previous_response_not_stored",
                param=_PARAM,
            )
        case "previous_in_conversation":
            return InvalidRequest(
                "The previous response belongs to a conversation: go on with `conversation`.",
                code="previous_response_in_conversation",
                param=_PARAM,
            )
    return Conflict(
        "The previous response is still running: wait for its end, or cancel it.",
        code="previous_response_running",
        param=_PARAM,
        should_retry=False,
    )


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
