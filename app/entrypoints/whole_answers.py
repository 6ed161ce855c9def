"""Refusing what cannot be given where an answer is sent in one piece, before anything is begun."""

import re
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.domain.errors import InvalidRequest

# Whether a body asks for a stream; what cannot be read is for the endpoint to judge.
_BY_DEFAULT: Final = re.compile(r"/v1/completions")
_IF_ASKED: Final = re.compile(r"/v1/(messages|chat/completions|responses)")
_ALWAYS: Final = re.compile(r"/api/chat(/[^/]+/stream)?|/v1/(completions|batches)/[^/]+/stream")
_READ: Final = re.compile(r"/v1/responses/[^/]+")


class NoStreams(InvalidRequest):
    code = "streaming_unavailable"


class WholeAnswersOnly:
    """The innermost middleware: by then it is clear that the request may be read, and who catches."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        where = f"the one at {settings.streaming_url}" if settings.streaming_url else "the streaming one"
        self._message = f"This front door answers in one piece. Send `stream: false`, or use {where}."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = await self._checked(scope, receive)
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """What gives the body again, which may have been read to find out.

        Raises:
            NoStreams: the answer would be a stream.
        """
        path = scope["path"]
        if _ALWAYS.fullmatch(path) or (_READ.fullmatch(path) and _flag(QueryParams(scope["query_string"]))):
            raise NoStreams(self._message, param="stream")
        default = bool(_BY_DEFAULT.fullmatch(path))
        if scope["method"] != "POST" or not (default or _IF_ASKED.fullmatch(path)):
            return receive
        messages = await _body(receive)
        if _asks_for_a_stream(b"".join(message.get("body", b"") for message in messages), default=default):
            raise NoStreams(self._message, param="stream")

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        return again


def _flag(query: QueryParams) -> bool:
    return query.get("stream", "").lower() in ("true", "1", "yes", "on", "t", "y")


async def _body(receive: Receive) -> list[Message]:
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _asks_for_a_stream(body: bytes, *, default: bool) -> bool:
    try:
        decoded: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(decoded, dict) and decoded.get("stream", default) in (True, "true")
