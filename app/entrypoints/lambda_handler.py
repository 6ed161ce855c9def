"""The application where Lambda's own runtime calls it, as an image or a zip: answers in one piece, by Mangum.

The one module that does its work when it is imported: this is how the runtime starts a function. The application is
opened once, and serves all invocations on one event loop; Mangum would open and close it around each of them.
"""

import gc

gc.disable()  # what imports make stays: to look it through again and again is a tenth of the start

import asyncio
import time
from typing import Any

from fastapi import FastAPI
from mangum import Mangum
from mangum.types import LambdaContext
from snapshot_restore_py import register_after_restore, register_before_snapshot
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from app import observability
from app.config import Settings
from app.entrypoints import events
from app.entrypoints.lifetime import Lifetime
from app.entrypoints.whole_answers import WholeAnswersOnly
from app.main import create_app


def _make() -> FastAPI:
    settings = Settings()
    # The upstream's SDK is imported by the first request that needs it: most have nothing to do with it.
    return create_app(settings, middleware=[Middleware(WholeAnswersOnly, settings=settings)], preload=False)


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"] = {**_lifetime.state, "ends_by": _deadline(scope["aws.context"]) - events.MARGIN}
    await _lifetime.app(scope, receive, send)


def _deadline(context: LambdaContext) -> float:
    return time.time() + context.get_remaining_time_in_millis() / 1000


def _handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """An event of HTTP API, REST API, a function URL or a load balancer; or one of ours, as `events` has them."""
    if events.is_event(event):
        return _loop.run_until_complete(events.handle(event, _lifetime, _deadline(context)))
    return _mangum(event, context)


_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)  # Mangum takes it from there
_lifetime = Lifetime(_make)
_loop.run_until_complete(_lifetime.open())
_mangum = Mangum(_serve, lifespan="off")
handler = observability.around_invocations(_handle, _lifetime.engine.settings)
gc.enable()
register_before_snapshot(lambda: _loop.run_until_complete(_lifetime.before_snapshot()))
register_after_restore(lambda: _loop.run_until_complete(_lifetime.after_restore()))
