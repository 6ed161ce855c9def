"""What a function says an HTTP response is: whole, or as a prelude before the body's own bytes."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

INTEGRATION_RESPONSE: Final = "application/vnd.awslambda.http-integration-response"
_DELIMITER: Final = b"\0" * 8
_LONGEST_PRELUDE: Final = 1_000_000
# The front door's connection is not the function's.
_NOT_PASSED_ON: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})


class BadReply(Exception):
    """No front door can make an HTTP response of it."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: list[tuple[str, str]]


async def read_head(pieces: AsyncIterator[bytes]) -> tuple[Head, bytes]:
    """The head that a streamed answer begins with, and what came with it of the body.

    Raises:
        BadReply: it has none.
        Failure: the answer ended before.
    """
    prelude = b""
    async for piece in pieces:
        prelude += piece
        before, delimiter, rest = prelude.partition(_DELIMITER)
        if delimiter:
            return _head(_object(before)), rest
        if len(prelude) > _LONGEST_PRELUDE:
            break
    raise BadReply("a streamed answer without a prelude")


def whole(payload: bytes, *, inferred: bool) -> tuple[Head, bytes]:
    """The response that a whole answer describes. `inferred`: what describes none is the body itself.

    Raises:
        BadReply: it describes none.
    """
    try:
        reply = json.loads(payload)
    except ValueError as error:
        raise BadReply("an answer that is no JSON") from error
    if inferred and not (isinstance(reply, dict) and "statusCode" in reply):
        return Head(200, [("content-type", "application/json")]), payload
    head = _head(reply)
    body = str(reply.get("body") or "")
    return head, base64.b64decode(body) if reply.get("isBase64Encoded") else body.encode()


def _object(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadReply("a prelude that is no JSON") from error


def _head(reply: Any) -> Head:
    try:
        status = int(reply.get("statusCode", 200))
        headers = [(name, str(value)) for name, value in (reply.get("headers") or {}).items()]
        several = reply.get("multiValueHeaders") or {}
        headers = [pair for pair in headers if pair[0] not in several]
        headers += [(name, str(value)) for name, values in several.items() for value in values]
        headers += [("set-cookie", cookie) for cookie in reply.get("cookies") or ()]
    except (AttributeError, TypeError, ValueError) as error:
        raise BadReply("an answer that is no HTTP response") from error
    return Head(status, [pair for pair in headers if pair[0].lower() not in _NOT_PASSED_ON])
