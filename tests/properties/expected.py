"""What readers must make of an answer, from how it was made up."""

from typing import Any, Final

from tests.properties.answers import Answer
from tests.properties.dialects import CHAT, RESPONSES, UI, Dialect
from tests.support.readers.reading import Reading

_CHAT: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_RESPONSES: Final = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
_UI: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}


def told(answer: Answer) -> Reading:
    """All of it, in the order of events."""
    reading = Reading(end=answer.end)
    for part in [part for parts in answer.told for part in parts]:
        match part.kind:
            case "text" | "thinking":
                reading.say(part.kind, part.value)
            case "input":
                reading.add_input(part.value)
            case "signature" | "redacted":
                reading.signatures.append(part.value)
            case kind:
                reading.call(part.id, part.value, server=kind == "server_call")
    return reading


def end(dialect: Dialect, answer: Answer) -> str:
    """The UI dialect has no codes of errors, Chat Completions a word of its own for one."""
    if dialect is UI and answer.end not in ("done", "cancelled", "interrupted"):
        return "error"
    return "overloaded" if dialect is CHAT and answer.end == "upstream_overloaded" else answer.end


def reason(dialect: Dialect, stop_reason: str) -> str:
    if dialect is CHAT:
        return _CHAT.get(stop_reason, "stop")
    if dialect is RESPONSES:
        return _RESPONSES.get(stop_reason, "completed")
    return _UI.get(stop_reason, "other") if dialect is UI else stop_reason


def usage(dialect: Dialect, answer: Answer) -> dict[str, Any]:
    """Every dialect's form of the same counts."""
    counts = answer.usage
    cached, written = counts["cache_read_input_tokens"] or 0, counts["cache_creation_input_tokens"] or 0
    given, made = counts["input_tokens"] + cached + written, counts["output_tokens"]
    details = {"cached_tokens": cached, "cache_write_tokens": written}
    thinking = {"reasoning_tokens": counts.get("output_tokens_details", {}).get("thinking_tokens", 0)}
    if dialect is CHAT:
        told = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        return {**told, "prompt_tokens_details": details, "completion_tokens_details": thinking}
    if dialect is RESPONSES:
        told = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
        return {**told, "input_tokens_details": details, "output_tokens_details": thinking}
    if dialect is UI:
        told = {"inputTokens": given, "cachedInputTokens": cached, "outputTokens": made}
        return {**told, "totalTokens": given + made}
    return counts
