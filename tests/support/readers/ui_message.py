"""What a client makes of the AI SDK's UI message stream, from any place in it."""

from tests.support.headwater import Frame
from tests.support.readers.reading import CALLS, Reading


def read_ui_message(reading: Reading, frame: Frame) -> None:
    assert frame.event == "message", frame
    part = frame.data
    if part == "[DONE]":
        reading.end = reading.reason if reading.reason in ("cancelled", "interrupted", "error") else "done"
        return
    match part["type"]:
        case "text-delta":
            reading.say("text", part["delta"])
        case "reasoning-delta":
            reading.say("thinking", part["delta"])
        case "reasoning-end":
            kept = part.get("providerMetadata", {}).get("anthropic", {})
            reading.signatures += [kept[name] for name in ("signature", "redactedData") if name in kept]
        case "tool-input-start":
            reading.call(part["toolCallId"], part["toolName"], server=part.get("providerExecuted", False))
        case "tool-input-delta":
            assert part["toolCallId"] == [call.id for call in reading.parts if call.kind in CALLS][-1]
            reading.add_input(part["inputTextDelta"])
        case "tool-input-available":
            reading.whole_input(part["toolCallId"], part["input"])
        case "finish" | "abort" | "error" as kind:
            reading.reason = part.get("finishReason", "cancelled" if kind == "abort" else kind)
            reading.usage = part.get("messageMetadata", {})
