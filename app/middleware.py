"""Pure ASGI middleware, outermost first: `RequestContext` > `Draining` > `BodyLimit`."""

import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import AppError, RequestTooLarge, Unavailable
from app.domain.ids import uuid7
from app.error_handlers import as_app_error, error_response
from app.observability import logger


class RequestContext:
    """Gives each request an id, tells it in the answer's headers and logs one line when it is over.

    It is also the last to catch: an exception that reached the server would close the connection under the next
    request of the same client.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid7().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        logger.thread_safe_append_keys(request_id=request_id)
        started = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["request-id"] = headers["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as exc:
            error = as_app_error(exc)
            if status == 0:
                await error_response(error, scope, request_id)(scope, receive, send_with_id)
        logger.info(
            "request",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_ms": round((time.monotonic() - started) * 1000, 1),
            },
        )


class Draining:
    """Refuses new requests once the process has been told to stop."""

    def __init__(self, app: ASGIApp, *, draining: Callable[[], bool]) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._draining():
            error = Unavailable("This instance is shutting down. Try again.", code="draining", retry_after=1)
            response = error_response(error, scope, scope["state"]["request_id"])
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


class BodyLimit:
    """Stops reading a request body past `limit` bytes: the reader of the body gets the error and answers it."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        read = 0

        async def receive_within_limit() -> Message:
            nonlocal read
            if announced.isdigit() and int(announced) > self._limit:
                raise self._too_large()
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, receive_within_limit, send)

    def _too_large(self) -> AppError:
        return RequestTooLarge(f"The request body is larger than {self._limit} bytes.")
