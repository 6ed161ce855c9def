"""Input items of OpenAI's Responses API as messages of Anthropic's."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.domain.completion import SYSTEM, NewMessage
from app.domain.errors import InvalidRequest
from app.wire.openai_items import REDACTED

Block = dict[str, Any]

_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
_PDF: Final = "application/pdf"
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": SYSTEM, "developer": SYSTEM}


def messages_of(items: str | Sequence[Any]) -> list[NewMessage]:
    """The messages that `input` stands for.

    Raises:
        InvalidRequest: an item is not of a kind that can be passed on, or lacks something; `param` is its place.
    """
    if isinstance(items, str):
        if not items:
            raise invalid("input", "must not be empty")
        return [NewMessage("user", Raw(msgspec.json.encode(items)))]
    messages = _Messages()
    for index, item in enumerate(items):
        messages.add(item, f"input[{index}]")
    return [NewMessage(role, Raw(msgspec.json.encode(content))) for role, content in messages.turns]


def invalid(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {what}.", code="invalid_value", param=param)


class _Messages:
    """Items become messages: the model's own neighbours are one, and so are the results of one round of calls."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, list[Block]]] = []

    def add(self, item: Any, at: str) -> None:
        if not isinstance(item, dict):
            raise invalid(at, "expected an object")
        match item.get("type", "message"):
            case "message":
                self._message(item, at)
            case "function_call":
                self._assistant([_tool_use(item, at)])
            case "function_call_output":
                self._result(_tool_result(item, at))
            case "reasoning":
                self._assistant(_thinking(item, at))
            case "web_search_call" | "code_interpreter_call" | "mcp_call":
                pass  # what the upstream would want back has no place in these; what it made of them stands in its text
            case _:
                raise invalid(f"{at}.type", "items of this type cannot be passed on")

    def _message(self, item: Mapping[str, Any], at: str) -> None:
        role = _ROLES.get(str(item.get("role")))
        if role is None:
            raise invalid(f"{at}.role", "expected one of user, assistant, system and developer")
        blocks = _blocks(item.get("content"), f"{at}.content", text_only=role != "user")
        if role == "assistant":
            self._assistant(blocks)
        elif not blocks:
            raise invalid(f"{at}.content", "must not be empty")
        elif role == "user" and self._last_has_results():
            self.turns[-1][1].extend(blocks)
        else:
            self.turns.append((role, blocks))

    def _assistant(self, blocks: list[Block]) -> None:
        if blocks and self.turns and self.turns[-1][0] == "assistant":
            self.turns[-1][1].extend(blocks)
        elif blocks:
            self.turns.append(("assistant", blocks))

    def _result(self, result: Block) -> None:
        """Results have to stand first in the message that follows the calls."""
        if not self.turns or self.turns[-1][0] != "user":
            self.turns.append(("user", [result]))
            return
        blocks = self.turns[-1][1]
        blocks.insert(sum(block["type"] == "tool_result" for block in blocks), result)

    def _last_has_results(self) -> bool:
        return bool(self.turns) and self.turns[-1][0] == "user" and self.turns[-1][1][0]["type"] == "tool_result"


def _blocks(content: Any, at: str, *, text_only: bool = False) -> list[Block]:
    """A string or parts as content blocks, without empty texts: the upstream refuses those."""
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise invalid(at, "expected a string or a list of parts")
    blocks = [_part(part, f"{at}[{index}]", text_only) for index, part in enumerate(content)]
    return [block for block in blocks if block.get("text") != ""]


def _part(part: Any, at: str, text_only: bool) -> Block:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_text" | "output_text" | "text" | "refusal"}:
            raise invalid(at, "expected a text")
        case {"type": "input_image"} if not text_only:
            return _image(part, at)
        case {"type": "input_file"} if not text_only:
            return _file(part, at)
    raise invalid(f"{at}.type", "parts of this type cannot be passed on here")


def _image(part: Mapping[str, Any], at: str) -> Block:
    url = part.get("image_url")
    if isinstance(url, str) and url.startswith("https://"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url)
    if media_type not in _IMAGES:
        raise invalid(f"{at}.image_url", "expected an https URL, or a data URL of PNG, JPEG, GIF or WebP in base64")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _file(part: Mapping[str, Any], at: str) -> Block:
    title = {"title": part["filename"]} if isinstance(part.get("filename"), str) and part["filename"] else {}
    url, given = part.get("file_url"), part.get("file_data")
    if isinstance(url, str) and url.startswith("https://"):
        return {"type": "document", "source": {"type": "url", "url": url}, **title}
    media_type, data = _data_url(given)
    if media_type is None and isinstance(given, str) and str(part.get("filename", "")).lower().endswith(".pdf"):
        media_type, data = _PDF, given
    if media_type == _PDF:
        return {"type": "document", "source": {"type": "base64", "media_type": _PDF, "data": data}, **title}
    if media_type is not None and media_type.startswith("text/"):
        text = {"type": "text", "media_type": "text/plain", "data": _text(data, at)}
        return {"type": "document", "source": text, **title}
    raise invalid(f"{at}.file_data", "expected a data URL of a PDF or of text in base64, or `file_url` with https")


def _data_url(url: Any) -> tuple[str | None, str]:
    if not isinstance(url, str) or not url.startswith("data:"):
        return None, ""
    head, _, data = url.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    return (media_type.lower(), data) if "base64" in parameters else (None, "")


def _text(data: str, at: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid(f"{at}.file_data", "expected text in UTF-8, in base64") from None


def _tool_use(item: Mapping[str, Any], at: str) -> Block:
    arguments = item.get("arguments")
    if not isinstance(arguments, str):
        raise invalid(f"{at}.arguments", "expected a string of JSON")
    try:
        decoded = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        raise invalid(f"{at}.arguments", "expected a string of JSON") from None
    if not isinstance(decoded, dict):
        raise invalid(f"{at}.arguments", "expected a JSON object")
    input = Raw((arguments or "{}").encode())  # as it was written: a cached prompt is found again
    return {"type": "tool_use", "id": _name(item, "call_id", at), "name": _name(item, "name", at), "input": input}


def _tool_result(item: Mapping[str, Any], at: str) -> Block:
    blocks = _blocks(item.get("output"), f"{at}.output")
    return {"type": "tool_result", "tool_use_id": _name(item, "call_id", at), **({"content": blocks} if blocks else {})}


def _name(item: Mapping[str, Any], field: str, at: str) -> str:
    name = item.get(field)
    if not isinstance(name, str) or not name:
        raise invalid(f"{at}.{field}", "expected a string")
    return name


def _thinking(item: Mapping[str, Any], at: str) -> list[Block]:
    """A thought goes back with its signature; one without has nothing that the upstream would take."""
    encrypted = item.get("encrypted_content")
    if not isinstance(encrypted, str) or not encrypted:
        return []
    if encrypted.startswith(REDACTED):
        return [{"type": "redacted_thinking", "data": encrypted.removeprefix(REDACTED)}]
    summary = item.get("summary") or []
    if not isinstance(summary, list):
        raise invalid(f"{at}.summary", "expected a list")
    texts = [str(part.get("text", "")) for part in summary if isinstance(part, dict)]
    return [{"type": "thinking", "thinking": "".join(texts), "signature": encrypted}]
