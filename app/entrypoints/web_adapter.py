"""The application behind Lambda's web adapter, which makes an HTTP request on loopback of every invocation.

It writes two headers over whatever a caller sent: the invocation's context, and what the front door says of the
request. Nowhere else may they be believed. An event that is no HTTP request comes with `null` for the latter, which no
caller can bring about.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from app.config import Settings
from app.entrypoints import events
from app.entrypoints.lifetime import Lifetime
from app.entrypoints.snapstart import hooks
from app.main import create_app

_log = logging.getLogger(__name__)

_CONTEXT: Final = "x-amzn-lambda-context"
_FRONT_DOOR: Final = "x-amzn-request-context"
_EVENTS_PATH: Final = "/events"
# What the adapter reports as a failed invocation (AWS_LWA_ERROR_STATUS_CODES), and nothing else answers.
_FAILED: Final = 599


class BehindWebAdapter:
    """An ASGI application for uvicorn; `settings` are those of its first start."""

    def __init__(self, settings: Settings) -> None:
        first: list[Settings] = [settings]
        # After a restore they are read again: a secret may have changed since.
        self.lifetime = Lifetime(lambda: create_app(first.pop() if first else Settings()))
        self._hooks = hooks(self.lifetime) if settings.is_snapshotted else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        headers = Headers(scope=scope)
        if (hook := self._hook(scope, headers)) is not None:
            await hook()
            await JSONResponse({"status": "done"})(scope, receive, send)
        elif scope["path"] == _EVENTS_PATH and headers.get(_FRONT_DOOR) == "null":
            response = await self._event(await Request(scope, receive).body(), _deadline(headers))
            await response(scope, receive, send)
        else:
            scope["state"] = dict(self.lifetime.state)
            if _CONTEXT in headers:  # the adapter's own look at whether it is ready has none
                scope["state"]["ends_by"] = _deadline(headers) - events.MARGIN
            await self.lifetime.app(scope, receive, send)

    def begin_drain(self) -> None:
        self.lifetime.engine.begin_drain()

    def _hook(self, scope: Scope, headers: Headers) -> Callable[[], Awaitable[None]] | None:
        """Called by the adapter itself, and not in an invocation."""
        return self._hooks.get(scope["path"]) if _CONTEXT not in headers else None

    async def _event(self, body: bytes, deadline: float) -> JSONResponse:
        try:
            return JSONResponse(await events.handle(json.loads(body), self.lifetime, deadline))
        except Exception:
            _log.exception("the event could not be handled")
            return JSONResponse({"status": "failed"}, _FAILED)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.lifetime.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.lifetime.close()
        await send({"type": "lifespan.shutdown.complete"})


def _deadline(headers: Headers) -> float:
    """When the invocation ends, in seconds since 1970."""
    context: dict[str, Any] = json.loads(headers[_CONTEXT])
    return float(context["deadline"]) / 1000
