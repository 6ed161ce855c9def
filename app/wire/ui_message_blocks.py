"""Content blocks as parts of a UI message: each is opened, grows by deltas, and is stopped or cut off."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.domain.events import (
    CitationsDelta,
    Delta,
    InputJsonDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    well_formed,
)
from app.wire.ui_message_sources import source_of, web_results

Part = Mapping[str, Any]

_encode: Final = msgspec.json.Encoder().encode
_EMPTY: Final = (b'""', b"null", b"{}", b"[]")


class Tools:
    """The calls that a client has seen, and how many sources: what it must not be told of twice, or unprepared."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self._sources = 0

    def next_source(self) -> str:
        self._sources += 1
        return f"s{self._sources}"


class Block:
    """A block that is open."""

    def growth(self, delta: Delta) -> bytes | None:
        """The JSON of the part that a delta of its own kind becomes, None for all others: the hot path."""
        return None

    def delta(self, delta: Delta) -> Iterator[Part]:
        yield from ()

    def stop(self) -> Iterator[Part]:
        yield from ()

    def cut(self, reason: str | None) -> Iterator[Part]:
        """Stop without having come to the end; `reason` is told where a part can say it."""
        yield from self.stop()


class _Text(Block):
    def __init__(self, index: int, tools: Tools) -> None:
        self._id = f"t{index}"
        self._head = b'{"type":"text-delta","id":"t%d","delta":' % index
        self._tools = tools

    def open(self, fields: Mapping[str, Raw]) -> Iterator[Part]:
        yield {"type": "text-start", "id": self._id}
        if (text := _given(fields, "text")) is not None:
            yield {"type": "text-delta", "id": self._id, "delta": text}
        if (citations := _given(fields, "citations")) is not None:
            for citation in msgspec.json.decode(citations, type=list[Raw]):
                yield from source_of(citation, self._tools.next_source())

    def growth(self, delta: Delta) -> bytes | None:
        return b"%b%b}" % (self._head, bytes(delta.text)) if isinstance(delta, TextDelta) else None

    def delta(self, delta: Delta) -> Iterator[Part]:
        if isinstance(delta, CitationsDelta):
            yield from source_of(delta.citation, self._tools.next_source())

    def stop(self) -> Iterator[Part]:
        yield {"type": "text-end", "id": self._id}


class _Reasoning(Block):
    def __init__(self, index: int) -> None:
        self._id = f"r{index}"
        self._head = b'{"type":"reasoning-delta","id":"r%d","delta":' % index
        self._metadata: dict[str, Raw] = {}

    def open(self, fields: Mapping[str, Raw]) -> Iterator[Part]:
        if (data := fields.get("data")) is not None:
            self._metadata["redactedData"] = data
        if (signature := _given(fields, "signature")) is not None:
            self._metadata["signature"] = signature
        yield {"type": "reasoning-start", "id": self._id, **self._provider()}
        if (thinking := _given(fields, "thinking")) is not None:
            yield {"type": "reasoning-delta", "id": self._id, "delta": thinking}

    def growth(self, delta: Delta) -> bytes | None:
        return b"%b%b}" % (self._head, bytes(delta.thinking)) if isinstance(delta, ThinkingDelta) else None

    def delta(self, delta: Delta) -> Iterator[Part]:
        if isinstance(delta, SignatureDelta):
            self._metadata["signature"] = Raw(bytes(delta.signature))
        yield from ()

    def stop(self) -> Iterator[Part]:
        yield {"type": "reasoning-end", "id": self._id, **self._provider()}

    def _provider(self) -> dict[str, Any]:
        return {"providerMetadata": {"anthropic": dict(self._metadata)}} if self._metadata else {}


class _Tool(Block):
    """A call of a tool. One that the `upstream` runs itself is not for the client to answer."""

    def __init__(self, fields: Mapping[str, Raw], tools: Tools, *, upstream: bool) -> None:
        self._call: dict[str, Any] = {"toolCallId": fields["id"], "toolName": fields["name"]}
        self._flags = {"dynamic": True, **({"providerExecuted": True} if upstream else {})}
        self._given = _given(fields, "input")
        self._head = b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":' % bytes(fields["id"])
        self._pieces: list[str] = []
        tools.called.add(_string(fields["id"]))

    def open(self) -> Iterator[Part]:
        yield {"type": "tool-input-start", **self._call, **self._flags}

    def growth(self, delta: Delta) -> bytes | None:
        if not isinstance(delta, InputJsonDelta) or not delta.partial_json:
            return None
        self._pieces.append(delta.partial_json)
        return b"%b%b}" % (self._head, _encode(delta.partial_json))

    def stop(self) -> Iterator[Part]:
        if (input := self._whole_input()) is None:
            yield from self.cut("The tool's input is cut off.")
        else:
            yield {"type": "tool-input-available", **self._call, "input": input, **self._flags}

    def cut(self, reason: str | None) -> Iterator[Part]:
        if reason is not None:
            error = {"input": "".join(self._pieces), "errorText": reason or "The tool's input is cut off."}
            yield {"type": "tool-input-error", **self._call, **error, **self._flags}

    def _whole_input(self) -> Raw | None:
        """The input's JSON; None where it ends too soon."""
        if not self._pieces:
            return self._given or Raw(b"{}")
        json = well_formed("".join(self._pieces).encode())
        try:
            msgspec.json.decode(json)
        except msgspec.DecodeError:
            return None
        return _on_one_line(json)


def open_block(index: int, fields: dict[str, Raw], tools: Tools) -> tuple[Block | None, Iterator[Part]]:
    """The block, or None for one that is complete as it starts; and what its start says."""
    kind = _string(fields.get("type", Raw(b'""')))
    match kind:
        case "text":
            text = _Text(index, tools)
            return text, text.open(fields)
        case "thinking" | "redacted_thinking":
            reasoning = _Reasoning(index)
            return reasoning, reasoning.open(fields)
        case "tool_use" | "server_tool_use" | "mcp_tool_use" if "id" in fields and "name" in fields:
            tool = _Tool(fields, tools, upstream=kind != "tool_use")
            return tool, tool.open()
        case _ if kind.endswith("_tool_result") and "tool_use_id" in fields:
            return None, _upstream_result(kind, fields, tools)
        case _:
            return None, iter([{"type": "data-anthropic", "data": dict(fields), "transient": True}])


def _upstream_result(kind: str, fields: dict[str, Raw], tools: Tools) -> Iterator[Part]:
    """The result of a tool that the upstream ran; its call may stand in an earlier message."""
    id = fields["tool_use_id"]
    if _string(id) not in tools.called:
        tools.called.add(_string(id))
        name = kind.removesuffix("_tool_result")
        call = {"toolCallId": id, "toolName": name, "input": {}, "dynamic": True, "providerExecuted": True}
        yield {"type": "tool-input-available", **call}
    yield from _output(id, fields, upstream=True)
    if kind == "web_search_tool_result":
        yield from web_results(fields.get("content", Raw(b"null")), tools.next_source)


def tool_result(fields: dict[str, Raw], tools: Tools) -> Iterator[Part]:
    """The result that the client gave of one of its tools."""
    if _string(fields["tool_use_id"]) in tools.called:
        yield from _output(fields["tool_use_id"], fields, upstream=False)


def _output(id: Raw, fields: Mapping[str, Raw], *, upstream: bool) -> Iterator[Part]:
    content = fields.get("content", Raw(b'""'))
    flags = {"dynamic": True, **({"providerExecuted": True} if upstream else {})}
    if (error := _error_text(fields, content)) is not None:
        yield {"type": "tool-output-error", "toolCallId": id, "errorText": error, **flags}
    else:
        output = _plain(content) if upstream else _given_output(content)
        yield {"type": "tool-output-available", "toolCallId": id, "output": output, **flags}


class _Failure(msgspec.Struct):
    type: str = ""
    error_code: str | None = None


def _error_text(fields: Mapping[str, Raw], content: Raw) -> str | None:
    """Why a tool failed, None if it did not: `is_error`, or a content whose type is an error."""
    try:
        failure = msgspec.json.decode(content, type=_Failure)
    except msgspec.ValidationError:
        failure = _Failure()
    if failure.type.endswith("_error"):
        return failure.error_code or failure.type
    if fields.get("is_error") == Raw(b"true"):
        text = _plain(content)
        return text if isinstance(text, str) else _string(content) or bytes(content).decode()
    return None


class _TextBlock(msgspec.Struct, tag="text"):
    text: str


def _plain(content: Raw) -> Raw | str:
    """A text alone as a string, else the content as it is."""
    try:
        return "".join(block.text for block in msgspec.json.decode(content, type=list[_TextBlock]))
    except msgspec.ValidationError:
        return content


def _given_output(content: Raw) -> Any:
    """What the client's tool gave: an object or a list of it was sent on as the text of its JSON."""
    text = _string(content)
    if text.startswith(("{", "[")):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(text)
    return _plain(content)


def _given(fields: Mapping[str, Raw], name: str) -> Raw | None:
    value = fields.get(name)
    return None if value is None or bytes(value) in _EMPTY else value


def _string(value: Raw) -> str:
    decoded: Any = msgspec.json.decode(value)
    return decoded if isinstance(decoded, str) else ""


def _on_one_line(json: bytes) -> Raw:
    """Line ends in JSON stand between its tokens only."""
    return Raw(json.replace(b"\r", b" ").replace(b"\n", b" "))
