"""What the API refuses beyond the schema: histories that do not hang together, and options that do not fit."""

from itertools import pairwise

from local.upstream.errors import invalid
from local.upstream.schema import CountRequest, Json, Message, MessagesRequest, blocks
from local.upstream.signatures import is_genuine

STRICT_VERSION = "2026-10-21"
MIN_THINKING_BUDGET = 1024


def check(request: CountRequest, version: str | None) -> None:
    """Raise the 400 that the API would answer.

    Args:
        request: what passed the schema.
        version: the `anthropic-version` header; when missing, the older and more lenient rules hold.
    """
    for position, message in enumerate(request.messages):
        _check_content(position, message, last=position == len(request.messages) - 1)
    _check_tool_pairs(request.messages)
    _check_tools(request)
    if isinstance(request, MessagesRequest):
        _check_thinking_budget(request)
    if (request.thinking or {}).get("type") == "enabled":
        _check_thought_before_tools(request.messages)
    if version == STRICT_VERSION:
        _check_strict_version(request)


def _check_content(position: int, message: Message, *, last: bool) -> None:
    if not message.content and not (last and message.role == "assistant"):
        raise invalid(f"messages.{position}: all messages must have non-empty content")
    for index, block in enumerate(blocks(message.content)):
        _check_block(f"messages.{position}.content.{index}", block)


def _check_block(place: str, block: Json) -> None:
    match block:
        case {"type": "text", "text": ""}:
            raise invalid("messages: text content blocks must be non-empty")
        case {"type": "text"} if not isinstance(block.get("text"), str):
            raise invalid(f"{place}.text: Field required")
        case {"type": "thinking"} if not is_genuine(str(block.get("thinking")), str(block.get("signature"))):
            raise invalid(f"{place}: Invalid `signature` in `thinking` block")
        case {"type": "redacted_thinking"} if not is_genuine("", str(block.get("data"))):
            raise invalid(f"{place}: Invalid `data` in `redacted_thinking` block")
        case {"type": str()}:
            return
        case _:
            raise invalid(f"{place}.type: Field required")


def _check_tool_pairs(messages: list[Message]) -> None:
    for position, (before, message) in enumerate(pairwise([None, *messages, None])):
        used = _ids(before, "assistant", "tool_use", "id")
        answered = _ids(message, "user", "tool_result", "tool_use_id")
        if missing := [name for name in used if name not in answered]:
            raise invalid(
                f"messages.{position - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. "
                "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
        if unexpected := [name for name in answered if name not in used]:
            raise invalid(
                f"messages.{position}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(unexpected)}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )


def _ids(message: Message | None, role: str, kind: str, key: str) -> list[str]:
    if message is None or message.role != role:
        return []
    return [str(block.get(key)) for block in blocks(message.content) if block.get("type") == kind]


def _check_tools(request: CountRequest) -> None:
    choice = request.tool_choice or {}
    names = [tool.get("name") for tool in request.tools or []]
    if not all(isinstance(name, str) for name in names):
        raise invalid("tools: every tool needs a name")
    if choice.get("type") == "tool" and choice.get("name") not in names:
        raise invalid(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
    if choice.get("type") in ("any", "tool") and (request.thinking or {}).get("type") in ("enabled", "adaptive"):
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _check_thinking_budget(request: MessagesRequest) -> None:
    match request.thinking:
        case {"type": "enabled", "budget_tokens": int(budget)}:
            if budget < MIN_THINKING_BUDGET:
                raise invalid(f"thinking.enabled.budget_tokens: Input should be at least {MIN_THINKING_BUDGET}")
            if budget >= request.max_tokens:
                raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`")
        case {"type": "enabled"}:
            raise invalid("thinking.enabled.budget_tokens: Field required")
        case _:
            return


def _check_thought_before_tools(messages: list[Message]) -> None:
    """Refuse a tool loop whose thought was dropped: the model could not go on with it."""
    if len(messages) < 2 or not _ids(messages[-1], "user", "tool_result", "tool_use_id"):
        return
    first = blocks(messages[-2].content)[0]["type"]
    if first not in ("thinking", "redacted_thinking"):
        raise invalid(
            f"messages.{len(messages) - 2}.content.0.type: "
            f"Expected `thinking` or `redacted_thinking`, but found `{first}`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _check_strict_version(request: CountRequest) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if getattr(request, name, None) is not None:
            raise invalid(f"{name}: Extra inputs are not permitted")
    for position, message in enumerate(request.messages):
        for index, block in enumerate(blocks(message.content)):
            if message.role == "assistant" and block["type"] == "document":
                raise invalid(
                    f"messages.{position}.content.{index}: `document` blocks are not allowed in assistant messages"
                )
            if message.role == "user" and block["type"] == "text" and block.get("citations"):
                raise invalid(f"messages.{position}.content.{index}.citations: Extra inputs are not permitted")
