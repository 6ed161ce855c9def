"""What `useChat` sends, and the Messages API's form of it."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta

from app.completions.schemas import MAX_TOKENS, MODEL_NAME
from app.config import Settings
from app.domain.errors import Unprocessable

T = TypeVar("T")

# Postgres has no NUL in text.
_NAME: Final = r"^[^\x00]*$"
# Fields of the Messages API that an app may add to the body; all others are its own affair.
PASSED_ON: Final = (
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "temperature",
    "thinking",
    "tool_choice",
    "top_k",
    "top_p",
)
_NO_RESULT: Final = "The tool was not run."

Block = dict[str, Any]
ChatId = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NAME)]
MessageId = Annotated[str, Meta(max_length=200, pattern=_NAME)]


class UiMessage(msgspec.Struct, frozen=True):
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]] = []
    id: MessageId = ""


class ChatRequest(msgspec.Struct, frozen=True, rename={"message_id": "messageId"}):
    """`messages` may be the whole chat or only its end; `message` is the last one alone, as many apps send it."""

    id: ChatId
    messages: list[UiMessage] = []
    message: UiMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: MessageId | None = None

    @property
    def regenerate(self) -> bool:
        return self.trigger == "regenerate-message"

    @property
    def last(self) -> UiMessage | None:
        """What this is about, system messages aside."""
        said = [message for message in self._all if message.role != "system"]
        return said[-1] if said else None

    @property
    def continues(self) -> str | None:
        """The client's id of the message that the answer goes on with: one whose tools have run."""
        last = self.last
        return last.id or None if last is not None and last.role == "assistant" and not self.regenerate else None

    @property
    def _all(self) -> list[UiMessage]:
        return [*self.messages, self.message] if self.message else self.messages

    def instructions(self) -> str:
        """The text of its system messages."""
        return "\n\n".join(_text(message) for message in self._all if message.role == "system")

    def tool_outputs(self) -> dict[str, Block]:
        """The `tool_result` for every call that a tool of the client's has answered, or that its user forbade."""
        parts = [part for message in self._all if message.role == "assistant" for part in message.parts]
        results = [_tool_result(part) for part in parts if "toolCallId" in part]
        return {result["tool_use_id"]: result for result in results if result is not None}


class Extras(msgspec.Struct, frozen=True):
    """What else a body may hold for us."""

    model: Annotated[str, Meta(min_length=1, max_length=200, pattern=MODEL_NAME)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    max_tokens_camel: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = msgspec.field(name="maxTokens", default=None)
    max_output_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = msgspec.field(
        name="maxOutputTokens", default=None
    )
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | dict[str, dict[str, Any]] | None = None


def chat_request(decoded: Mapping[str, Any]) -> ChatRequest:
    """
    Raises:
        Unprocessable: a field has a wrong shape.
    """
    return _converted(decoded, ChatRequest)


def body_of(decoded: Mapping[str, Any], chat: ChatRequest, settings: Settings) -> dict[str, Any]:
    """The Messages request without its messages: from the extras of the body, else from the settings.

    Raises:
        Unprocessable: an extra has a wrong shape.
    """
    extras = _converted(decoded, Extras)
    body: dict[str, Any] = {
        "model": extras.model or settings.chat_model,
        "max_tokens": extras.max_tokens
        or extras.max_tokens_camel
        or extras.max_output_tokens
        or settings.default_max_tokens,
    }
    if system := extras.system or chat.instructions():
        body["system"] = system
    if extras.tools:
        body["tools"] = extras.tools if isinstance(extras.tools, list) else _tools(extras.tools)
    return body | {field: decoded[field] for field in PASSED_ON if decoded.get(field) is not None}


def _converted(decoded: Mapping[str, Any], type: type[T]) -> T:
    try:
        return msgspec.convert(decoded, type)
    except msgspec.ValidationError as error:
        raise Unprocessable(f"The request has a wrong shape: {error}") from None


def _tools(by_name: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The AI SDK's way to name tools, as the Messages API has them."""
    return [_tool(name, tool) for name, tool in by_name.items()]


def _tool(name: str, tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = next((tool[key] for key in ("input_schema", "inputSchema", "parameters") if tool.get(key)), None)
    described = {"description": tool["description"]} if tool.get("description") else {}
    return {"name": name, **described, "input_schema": schema or {"type": "object"}}


# -- the user's words and files


def content_of(message: UiMessage) -> list[Block]:
    """The blocks of what a user said. Parts that are only for show are left out.

    Raises:
        Unprocessable: a part cannot be sent on, or nothing is left.
    """
    blocks = [block for part in message.parts for block in _blocks(part)]
    if not blocks:
        raise Unprocessable("The message is empty.", param="messages")
    return blocks


def _blocks(part: Mapping[str, Any]) -> Iterator[Block]:
    match part:
        case {"type": "text", "text": str(text)}:
            if text:
                yield {"type": "text", "text": text}
        case {"type": "file", "url": str(url)}:
            yield _file(url, str(part.get("mediaType") or ""), part.get("filename"))
        case {"type": "text" | "file"}:
            raise Unprocessable("A part of the message cannot be read.", param="messages")
        case _:
            pass


def _file(url: str, media: str, name: Any) -> Block:
    title = {"title": name} if isinstance(name, str) and name else {}
    if url.startswith("https://"):
        return _linked(url, media, title)
    if not url.startswith("data:"):
        raise Unprocessable("A file must be a data: or an https: URL.", param="messages")
    named, data = _data_url(url)
    media = media or named
    if media.startswith("image/"):
        return {"type": "image", "source": _base64(media, data)}
    if media == "application/pdf":
        return {"type": "document", "source": _base64(media, data), **title}
    if media.startswith("text/"):
        return {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": _utf8(data)},
            **title,
        }
    raise _unknown_media()


def _linked(url: str, media: str, title: Block) -> Block:
    if media.startswith("image/"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    if media == "application/pdf":
        return {"type": "document", "source": {"type": "url", "url": url}, **title}
    raise _unknown_media()


def _data_url(url: str) -> tuple[str, bytes]:
    """The media type and the bytes of a data: URL (RFC 2397)."""
    head, comma, data = url.removeprefix("data:").partition(",")
    media, *parameters = head.split(";")
    try:
        if not comma:
            raise ValueError
        raw = unquote_to_bytes(data)
        return media.strip().lower(), base64.b64decode(raw, validate=True) if "base64" in parameters else raw
    except (ValueError, binascii.Error):
        raise Unprocessable("A data: URL cannot be read.", param="messages") from None


def _base64(media: str, data: bytes) -> Block:
    return {"type": "base64", "media_type": media, "data": base64.b64encode(data).decode()}


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unprocessable("A text file must be UTF-8.", param="messages") from None


def _unknown_media() -> Unprocessable:
    return Unprocessable("Only images, PDF and text files can be sent.", param="messages")


def _text(message: UiMessage) -> str:
    return "\n".join(str(part.get("text", "")) for part in message.parts if part.get("type") == "text")


# -- tools that the client runs


def _tool_result(part: Mapping[str, Any]) -> Block | None:
    """None where there is nothing to tell yet, or the upstream ran the tool itself."""
    if part.get("providerExecuted"):
        return None
    result: Block = {"type": "tool_result", "tool_use_id": str(part["toolCallId"])}
    match part:
        case {"state": "output-available"}:
            return result | {"content": _output(part.get("output"))}
        case {"state": "output-error"}:
            return result | {"content": str(part.get("errorText") or "The tool failed."), "is_error": True}
        case {"state": "output-denied"} | {"state": "approval-responded", "approval": {"approved": False}}:
            return result | {"content": "The user denied this tool call.", "is_error": True}
        case _:
            return None


def _output(output: Any) -> str:
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()


def answers_to(pending: Sequence[str], outputs: Mapping[str, Block]) -> list[Block]:
    """A result for each pending call, without which the upstream takes no further message."""
    missing = {"type": "tool_result", "content": _NO_RESULT, "is_error": True}
    return [outputs.get(id, {**missing, "tool_use_id": id}) for id in pending]
