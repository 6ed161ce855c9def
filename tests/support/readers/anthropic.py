"""What a client makes of the plain dialect and of Anthropic's (its API reference, "Streaming messages")."""

from tests.support.headwater import Frame
from tests.support.readers.reading import Json, Reading


def read_plain(reading: Reading, frame: Frame) -> None:
    data = frame.data
    match frame.event:
        case "message" if data == "[DONE]":
            reading.end = "done"
        case "message":
            reading.say("text", data["text"])
        case "thinking":
            reading.say("thinking", data["thinking"])
        case "signature":
            reading.signatures.append(data["signature"])
        case "content_block":
            _block(reading, data["content_block"])
        case "tool_input":
            reading.add_input(data["partial_json"])
        case "start":
            reading.usage |= data["usage"]
        case "usage":
            reading.usage |= data["usage"]
            reading.reason = data["stop_reason"]
        case "error":
            reading.end = data["error"]["code"]
        case name:
            assert name in ("citation", "event"), frame


def read_anthropic_messages(reading: Reading, frame: Frame) -> None:
    data = frame.data
    assert frame.event == data["type"], frame
    match frame.event:
        case "message_start":
            reading.usage |= data["message"]["usage"]
        case "content_block_start":
            _block(reading, data["content_block"])
        case "content_block_delta":
            _delta(reading, data["delta"])
        case "message_delta":
            reading.usage |= data.get("usage", {})
            reading.reason = data["delta"]["stop_reason"]
        case "message_stop":
            reading.end = "done"
        case "error":
            reading.end = data["error"]["details"]["error_code"]


def _block(reading: Reading, block: Json) -> None:
    match block["type"]:
        case "text" | "thinking" as kind:
            reading.say(kind, block[kind])
        case "redacted_thinking":
            reading.signatures.append(block["data"])
        case "tool_use" | "server_tool_use" as kind:
            reading.call(block["id"], block["name"], block["input"], server=kind != "tool_use")


def _delta(reading: Reading, delta: Json) -> None:
    match delta["type"]:
        case "text_delta":
            reading.say("text", delta["text"])
        case "thinking_delta":
            reading.say("thinking", delta["thinking"])
        case "signature_delta":
            reading.signatures.append(delta["signature"])
        case "input_json_delta":
            reading.add_input(delta["partial_json"])
