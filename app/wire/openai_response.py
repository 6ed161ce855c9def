"""The response object of OpenAI's Responses API, made from a request as it is stored and what came of it."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Raw

from app.domain.events import NULL, Error
from app.domain.ids import made_at
from app.domain.message import MessageFold
from app.wire.openai_items import INCOMPLETE, REFUSED, Item
from app.wire.openai_output import output_items

QUEUED: Final = "queued"
IN_PROGRESS: Final = "in_progress"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

# The line of `system` that stands for `text.format` = json_object, which the Messages API does not have.
JSON_ONLY: Final = "Answer with one valid JSON object and nothing else."

_TOO_LONG: Final = ("max_tokens", "model_context_window_exceeded")
_CODES: Final = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class Head(msgspec.Struct, frozen=True):
    """What is known of a response before its first event. `request` is a Messages request, as it was sent or stored."""

    id: UUID
    model: str
    request: dict[str, Any]
    metadata: dict[str, Any] = {}
    previous_id: UUID | None = None
    conversation_id: UUID | None = None
    store: bool = True
    background: bool = False


class Ending(msgspec.Struct, frozen=True):
    """How a response ended. `why` says of an incomplete one what it lacks."""

    status: str
    why: str | None = None
    error: dict[str, Any] | None = None


def response_id(id: UUID) -> str:
    return f"resp_{id.hex}"


def response(
    head: Head, ending: Ending, output: Sequence[Item] = (), usage: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The object. Of an answer that is not whole, the last item is not either."""
    items = list(output)
    if items and ending.status not in (COMPLETED, IN_PROGRESS, QUEUED):
        items[-1] = items[-1] | {"status": INCOMPLETE}
    return {
        "id": response_id(head.id),
        "object": "response",
        "created_at": made_at(head.id),
        "status": ending.status,
        "background": head.background,
        "error": ending.error,
        "incomplete_details": {"reason": ending.why} if ending.why else None,
        "model": head.model,
        "output": items,
        "usage": usage,
        "previous_response_id": response_id(head.previous_id) if head.previous_id else None,
        "conversation": {"id": str(head.conversation_id)} if head.conversation_id else None,
        "metadata": head.metadata,
        "store": head.store,
        **_asked(head.request),
        "max_tool_calls": None,
        "service_tier": "default",
        "top_logprobs": 0,
        "truncation": "disabled",
        "user": None,
    }


def answered(head: Head, fold: MessageFold) -> dict[str, Any]:
    """The object of an answer that came to its end."""
    return stored(head, fold.stop_reason, fold.content(), fold.usage(), refusal(fold.stop_reason, fold.stop_details))


def stored(
    head: Head, stop_reason: str | None, content: bytes | None, usage: bytes | None, refused: str | None = None
) -> dict[str, Any]:
    """The same, from what the store has of it."""
    refused = refused or refusal(stop_reason, NULL)
    return response(head, ending(stop_reason), _output(head.id, content, refused), usage_of(usage))


def unfinished(head: Head, error: bytes | None, content: bytes | None, usage: bytes | None) -> dict[str, Any]:
    """The object of an answer that `error`, the terminal event, cut short."""
    event = msgspec.json.decode(error, type=Error) if error is not None else None
    return response(head, failure(event), _output(head.id, content, None), usage_of(usage))


def _output(id: UUID, content: bytes | None, refused: str | None) -> list[Item]:
    blocks = msgspec.json.decode(content, type=list[dict[str, Raw]]) if content is not None else []
    return output_items(id, blocks, refused=refused)


def ending(stop_reason: str | None) -> Ending:
    if stop_reason in _TOO_LONG:
        return Ending(INCOMPLETE, "max_output_tokens")
    if stop_reason == "refusal":
        return Ending(INCOMPLETE, "content_filter")
    return Ending(COMPLETED)


def failure(event: Error | None) -> Ending:
    """`code` is one of OpenAI's; `type` says what happened here."""
    if event is None:
        return Ending(FAILED, error={"code": "server_error", "message": "The response failed."})
    details = event.error.details
    code = (details.error_code if details is not None else None) or event.error.type
    theirs = _CODES.get(event.error.type, "server_error")
    status = CANCELLED if code == "cancelled" else FAILED
    return Ending(status, error={"code": theirs, "message": event.error.message, "type": code})


def refusal(stop_reason: str | None, details: Raw) -> str | None:
    """What a refused answer says of it."""
    if stop_reason != "refusal":
        return None
    said = msgspec.json.decode(details)
    explanation = said.get("explanation") if isinstance(said, dict) else None
    return explanation if isinstance(explanation, str) and explanation else REFUSED


def usage_of(usage: bytes | None) -> dict[str, Any] | None:
    """Token counts in OpenAI's terms; None where the upstream has counted nothing."""
    counts = msgspec.json.decode(usage) if usage is not None else {}
    if "input_tokens" not in counts:
        return None
    read, written = _count(counts, "cache_read_input_tokens"), _count(counts, "cache_creation_input_tokens")
    given, made = _count(counts, "input_tokens") + read + written, _count(counts, "output_tokens")
    details = counts.get("output_tokens_details")
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": _count(details, "thinking_tokens")},
        "total_tokens": given + made,
    }


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else 0


# -- what was asked, told back


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    """Other dialects store requests that nobody has checked: what does not fit is left out."""
    system, json_only = _instructions(request.get("system"))
    output = request.get("output_config")
    output = output if isinstance(output, dict) else {}
    choice = request.get("tool_choice")
    choice = choice if isinstance(choice, dict) else {}
    thinks = request.get("thinking")
    thinks = thinks.get("type") if isinstance(thinks, dict) else None
    return {
        "instructions": system,
        "max_output_tokens": request.get("max_tokens"),
        "parallel_tool_calls": not choice.get("disable_parallel_tool_use", False),
        "reasoning": {
            "effort": "none" if thinks == "disabled" else output.get("effort"),
            "summary": "auto" if thinks in ("adaptive", "enabled") else None,
        },
        "temperature": request.get("temperature", 1.0),
        "text": {"format": {"type": "json_object"} if json_only else _format(output.get("format"))},
        "tool_choice": _choice(choice),
        "tools": _tools(request.get("tools")),
        "top_p": request.get("top_p", 1.0),
    }


def _instructions(system: Any) -> tuple[str | None, bool]:
    if isinstance(system, list):
        texts = [str(block.get("text", "")) for block in system if isinstance(block, dict)]
        return "\n".join(text for text in texts if text != JSON_ONLY) or None, JSON_ONLY in texts
    return (system if isinstance(system, str) else None), False


def _format(asked: Any) -> dict[str, Any]:
    if isinstance(asked, dict) and asked.get("type") == "json_schema":
        return {"type": "json_schema", "name": "answer", "schema": asked.get("schema"), "strict": True}
    return {"type": "text"}


def _choice(choice: dict[str, Any]) -> str | dict[str, Any]:
    if choice.get("type") == "tool":
        return {"type": "function", "name": choice.get("name")}
    return _CHOICES.get(str(choice.get("type", "auto")), "auto")


def _tools(tools: Any) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "name": tool.get("name"),
            "description": tool.get("description"),
            "parameters": tool["input_schema"],
            "strict": tool.get("strict", False),
        }
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict) and "input_schema" in tool
    ]
