"""A reader of the AI SDK's UI message stream, at least as strict as the real one.

Written from the client's schema and its fold (`ai` 7, `uiMessageChunkSchema` and `processUIMessageStream`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Chunk = dict[str, Any]

# The fields that a chunk must have, by its type.
_REQUIRED: Final[dict[str, dict[str, type]]] = {
    "start": {"messageId": str},
    "start-step": {},
    "text-start": {"id": str},
    "text-delta": {"id": str, "delta": str},
    "text-end": {"id": str},
    "reasoning-start": {"id": str},
    "reasoning-delta": {"id": str, "delta": str},
    "reasoning-end": {"id": str},
    "tool-input-start": {"toolCallId": str, "toolName": str, "dynamic": bool},
    "tool-input-delta": {"toolCallId": str, "inputTextDelta": str},
    "tool-input-available": {"toolCallId": str, "toolName": str, "input": object, "dynamic": bool},
    "tool-input-error": {"toolCallId": str, "toolName": str, "input": object, "errorText": str},
    "tool-output-available": {"toolCallId": str, "output": object},
    "tool-output-error": {"toolCallId": str, "errorText": str},
    "source-url": {"sourceId": str, "url": str},
    "source-document": {"sourceId": str, "mediaType": str, "title": str},
    "data-anthropic": {"data": object, "transient": bool},
    "finish-step": {},
    "finish": {"finishReason": str, "messageMetadata": dict},
    "abort": {"reason": str},
    "error": {"errorText": str},
}
_OPTIONAL: Final[dict[str, type]] = {"title": str, "providerExecuted": bool, "providerMetadata": dict}
_FINISH_REASONS: Final = ("stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other")
_ENDS: Final = ("finish", "abort", "error")


def chunks_of(body: bytes) -> list[Chunk]:
    """The chunks of a stream or of its beginning; every line must be one that the dialect has, `[DONE]` the last."""
    frames = body.decode().split("\n\n")
    chunks: list[Chunk] = []
    done = False
    for frame in frames[:-1]:
        data = [line.removeprefix("data: ") for line in frame.split("\n") if line.startswith("data: ")]
        others = [line for line in frame.split("\n") if not line.startswith("data: ")]
        assert all(line.startswith((":", "id: ")) for line in others), frame
        assert len(data) <= 1, frame
        if data:
            assert not done, frame
            done = data == ["[DONE]"]
            if not done:
                chunks.append(json.loads(data[0]))
    ended = bool(chunks) and chunks[-1]["type"] in _ENDS
    assert done == ended, body[-300:]
    return chunks


@dataclass
class UiMessage:
    """What a client makes of the chunks."""

    id: str = ""
    parts: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    aborted: bool = False
    error: str | None = None
    steps: int = 0
    transient: list[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part["text"] for part in self.parts if part["type"] == "text")

    @property
    def reasoning(self) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["type"] == "reasoning"]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["type"] == "dynamic-tool"]

    @property
    def sources(self) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["type"].startswith("source-")]

    def as_sent(self) -> dict[str, Any]:
        return {"id": self.id, "role": "assistant", "parts": self.parts, "metadata": self.metadata}


def message_of(chunks: Sequence[Chunk]) -> UiMessage:
    """Fold the chunks; anything at which a client would throw, or be left with an open part, fails."""
    reader = _Reader()
    for chunk in chunks:
        reader.take(chunk)
    if reader.ended:
        assert not reader.open, f"left open: {reader.open}"
    return reader.message


class _Reader:
    def __init__(self) -> None:
        self.message = UiMessage()
        self.open: dict[tuple[str, str], dict[str, Any]] = {}
        self.ended = False
        self._started = False
        self._in_step = False

    def take(self, chunk: Chunk) -> None:
        kind = chunk["type"]
        required = _REQUIRED[kind]
        for name, type in required.items():
            assert name in chunk, chunk
            assert isinstance(chunk[name], type), chunk
        for name in chunk.keys() & _OPTIONAL.keys():
            assert isinstance(chunk[name], _OPTIONAL[name]), chunk
        assert not self.ended, chunk
        assert self._started or kind in ("start", "data-anthropic"), chunk
        getattr(self, "_" + kind.split("-")[0])(kind, chunk)

    def _start(self, kind: str, chunk: Chunk) -> None:
        if kind == "start-step":
            assert not self._in_step
            self._in_step = True
            self.message.steps += 1
            self.message.parts.append({"type": "step-start"})
            return
        assert not self._started
        self._started = True
        self.message.id = chunk["messageId"]
        self.message.metadata |= chunk.get("messageMetadata", {})

    def _finish(self, kind: str, chunk: Chunk) -> None:
        if kind == "finish-step":
            assert self._in_step
            self._in_step = False
            return
        assert not self._in_step
        assert chunk["finishReason"] in _FINISH_REASONS
        self.message.finish_reason = chunk["finishReason"]
        self.message.metadata |= chunk["messageMetadata"]
        self.ended = True

    def _abort(self, kind: str, chunk: Chunk) -> None:
        self.message.aborted = self.ended = True

    def _error(self, kind: str, chunk: Chunk) -> None:
        self.message.error = chunk["errorText"]
        self.ended = True

    def _data(self, kind: str, chunk: Chunk) -> None:
        self.message.transient.append(chunk["data"])

    def _source(self, kind: str, chunk: Chunk) -> None:
        assert chunk["sourceId"] not in [part["sourceId"] for part in self.message.sources]
        self.message.parts.append(chunk)

    def _text(self, kind: str, chunk: Chunk) -> None:
        self._prose("text", kind, chunk)

    def _reasoning(self, kind: str, chunk: Chunk) -> None:
        self._prose("reasoning", kind, chunk)

    def _prose(self, name: str, kind: str, chunk: Chunk) -> None:
        assert self._in_step, chunk
        key = (name, chunk["id"])
        if kind.endswith("-start"):
            assert key not in self.open, chunk
            part = self.open[key] = {"type": name, "text": "", "state": "streaming"}
            self.message.parts.append(part)
        elif kind.endswith("-delta"):
            part = self.open[key]
            part["text"] += chunk["delta"]
        else:
            part = self.open.pop(key)
            part["state"] = "done"
        if "providerMetadata" in chunk:
            part["providerMetadata"] = chunk["providerMetadata"]

    def _tool(self, kind: str, chunk: Chunk) -> None:
        assert self._in_step, chunk
        known = {part["toolCallId"]: part for part in self.message.tools}
        id = chunk["toolCallId"]
        call = {"type": "dynamic-tool", "toolCallId": id, "toolName": chunk.get("toolName")}
        match kind:
            case "tool-input-start":
                assert id not in known, chunk
                self.message.parts.append({**call, "state": "input-streaming", "raw": ""})
            case "tool-input-delta":
                assert known[id]["state"] == "input-streaming", chunk
                known[id]["raw"] += chunk["inputTextDelta"]
            case "tool-input-available":
                part = known.get(id)
                if part is None:
                    self.message.parts.append(part := call)
                part |= {"state": "input-available", "input": chunk["input"]}
                if part.get("raw"):
                    assert json.loads(part["raw"]) == chunk["input"]
            case "tool-input-error":
                known[id] |= {"state": "output-error", "input": chunk["input"], "errorText": chunk["errorText"]}
            case "tool-output-available":
                assert known[id]["state"] == "input-available", chunk
                known[id] |= {"state": "output-available", "output": chunk["output"]}
            case "tool-output-error":
                assert known[id]["state"] == "input-available", chunk
                known[id] |= {"state": "output-error", "errorText": chunk["errorText"]}
        part = {part["toolCallId"]: part for part in self.message.tools}[id]
        part |= {"providerExecuted": True} if chunk.get("providerExecuted") else {}
