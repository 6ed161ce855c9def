"""What a client makes of OpenAI's two dialects (its API reference, "Streaming")."""

from typing import Any

from tests.support.headwater import Frame
from tests.support.readers.reading import Json, Reading


def read_openai_chat(reading: Reading, frame: Frame) -> None:
    assert frame.event == "message", frame
    if frame.data == "[DONE]":
        reading.end = reading.whole["error"]["code"] if reading.whole is not None else "done"
        return
    if "error" in frame.data:
        reading.whole = frame.data
        return
    assert frame.data["object"] == "chat.completion.chunk"
    reading.usage = frame.data.get("usage") or reading.usage
    for choice in frame.data["choices"]:
        _chat_delta(reading, choice["delta"])
        reading.reason = choice["finish_reason"]


def _chat_delta(reading: Reading, delta: Json) -> None:
    if "content" in delta:
        reading.say("text", delta["content"])
    if "reasoning_content" in delta:
        reading.say("thinking", delta["reasoning_content"])
    reading.refusal += delta.get("refusal", "")
    for call in delta.get("tool_calls", ()):
        if "id" in call:
            assert call["type"] == "function"
            reading.call(call["id"], call["function"]["name"])
        assert call["index"] == len(reading.calls()) - 1
        reading.add_input(call["function"]["arguments"])


def read_openai_responses(reading: Reading, frame: Frame) -> None:
    data = frame.data
    assert frame.event == data["type"], frame
    match frame.event.removeprefix("response."):
        case "output_text.delta":
            reading.say("text", data["delta"])
        case "reasoning_summary_text.delta":
            reading.say("thinking", data["delta"])
        case "refusal.delta":
            reading.refusal += data["delta"]
        case "output_item.added" if data["item"]["type"] == "function_call":
            reading.call(data["item"]["call_id"], data["item"]["name"])
        case "function_call_arguments.delta":
            reading.add_input(data["delta"])
        case "output_item.done" if data["item"]["type"] == "reasoning":
            reading.signatures.append(data["item"]["encrypted_content"].removeprefix("redacted_thinking:"))
        case "completed" | "incomplete" | "failed":
            _response(reading, data["response"])


def _response(reading: Reading, response: Json) -> None:
    reading.whole = response
    reading.usage = response["usage"] or {}
    if response["error"] is not None:
        reading.end = response["error"]["type"]
        return
    reading.end = "done"
    reading.reason = (response["incomplete_details"] or {}).get("reason", response["status"])


def read_response(response: Json) -> Reading:
    """The same of a response in one piece."""
    reading = Reading()
    for item in response["output"]:
        _item(reading, item)
    _response(reading, response)
    return reading


def _item(reading: Reading, item: dict[str, Any]) -> None:
    match item["type"]:
        case "message":
            for part in item["content"]:
                if part["type"] == "output_text":
                    reading.say("text", part["text"])
                else:
                    reading.refusal += part["refusal"]
        case "reasoning":
            for part in item["summary"]:
                reading.say("thinking", part["text"])
            if item["encrypted_content"]:
                reading.signatures.append(item["encrypted_content"].removeprefix("redacted_thinking:"))
        case "function_call":
            reading.call(item["call_id"], item["name"])
            reading.add_input(item["arguments"])
