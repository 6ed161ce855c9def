"""Pure ASGI middleware, outermost first: `RequestContext` > `Draining` > `BodyLimit`."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import AppError, RequestTooLarge, RequestTooSlow, Unavailable
from app.error_handlers import as_app_error, error_response
from app.observability import (
    annotate_with_keys,
    arrive,
    bind,
    logger,
    platform_trace_of,
    request_id_of,
    served_by,
    takes_start,
    trace_id,
)

# Which dialect a path speaks; under all others there is none.
_DIALECTS: Final = {
    "/v1/completions": "plain",
    "/v1/messages": "anthropic_messages",
    "/v1/chat/completions": "openai_chat",
    "/v1/responses": "openai_responses",
    "/api/chat": "ui_message",
}
# They ask how the process is: the first of them is no caller who waited for its start.
PROBES: Final = ("/livez", "/readyz", "/metrics")


class RequestContext:
    """Gives each request its id, tells it in the answer's headers and logs one line when it is over.

    With `tells_timing` the header `server-timing` says which home and instance answered, and how that began.
    It is also the last to catch: an exception that reached the server would close the connection under the next
    request of the same client. `at_end` is called before the last byte is sent.
    """

    def __init__(
        self, app: ASGIApp, *, home: str, tells_timing: bool, at_end: Callable[[], None] | None = None
    ) -> None:
        self._app = app
        self._home = home
        self._tells_timing = tells_timing
        self._at_end = at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = arrive()
        request_id = request_id_of(scope, self._home)
        start = "warm" if scope["path"] in PROBES else takes_start()
        timing = served_by(self._home, start) if self._tells_timing else None
        answer = _Answer(scope, send, arrived, timing, self._at_end)
        scope.setdefault("state", {})["request_id"] = request_id
        bind(
            request_id=request_id,
            trace_id=trace_id() or platform_trace_of(scope, self._home),
            dialect=_dialect(scope["path"]),
            cold_start=start == "cold",
        )
        try:
            await self._app(scope, receive, answer.send)
        except Exception as exc:
            error = as_app_error(exc)
            if answer.status == 0:
                await error_response(error, scope, request_id)(scope, receive, answer.send)
        finally:
            answer.log()


def _dialect(path: str) -> str | None:
    return next((dialect for prefix, dialect in _DIALECTS.items() if path.startswith(prefix)), None)


class _Answer:
    """What one request is answered with, on its way."""

    def __init__(
        self, scope: Scope, send: Send, arrived: float, timing: str | None, at_end: Callable[[], None] | None
    ) -> None:
        self.status = 0
        self._scope = scope
        self._send = send
        self._arrived = arrived
        self._timing = timing
        self._at_end = at_end
        self._bytes = 0
        self._logged = scope["path"] == "/livez"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.log()  # behind the last byte, a home may freeze this process
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["request-id"] = headers["x-request-id"] = self._scope["state"]["request_id"]
            if self._timing is not None:
                upstreams = headers.get("server-timing")
                headers["server-timing"] = f"{upstreams}, {self._timing}" if upstreams else self._timing
        await self._send(message)

    def log(self) -> None:
        """The request's line, once; its span has the same keys."""
        if self._logged:
            return
        self._logged = True
        annotate_with_keys()
        logger.info(
            "request",
            extra={
                "method": self._scope["method"],
                # Not the path: whatever a caller puts there by mistake would be in the log.
                "route": getattr(self._scope.get("route"), "path", "none"),
                "http_status": self.status,
                "duration_ms": round((time.monotonic() - self._arrived) * 1000, 1),
                # Of a stream, all but the last part has not come this way.
                "bytes": self._bytes + self._scope["state"].get("sent", 0),
            },
        )
        if self._at_end is not None:
            self._at_end()


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
    """Stops reading a request body past `limit` bytes or `timeout` seconds.

    Whoever reads the body gets the error and answers it.
    """

    def __init__(self, app: ASGIApp, *, limit: int, timeout: float) -> None:
        self._app = app
        self._limit = limit
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(Headers(scope=scope), receive, self._limit, self._timeout)
        await self._app(scope, body.receive, send)


class _Body:
    """The body of one request, as far as it is let in. The clock starts when somebody wants to read it."""

    def __init__(self, headers: Headers, receive: Receive, limit: int, timeout: float) -> None:
        announced = headers.get("content-length", "0")
        self._announced = int(announced) if announced.isdigit() else 0
        self._receive = receive
        self._limit = limit
        self._timeout = timeout
        self._deadline: float | None = None
        self._read = 0
        self._whole = False

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()  # what comes now is the caller's leaving, whenever that is
        if self._announced > self._limit:
            raise self._too_large()
        message = await self._in_time()
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            raise self._too_large()
        self._whole = not message.get("more_body", False)
        return message

    async def _in_time(self) -> Message:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            raise RequestTooSlow(f"The request body did not come within {self._timeout:g} seconds.") from None

    def _too_large(self) -> AppError:
        return RequestTooLarge(f"The request body is larger than {self._limit} bytes.")
