"""What every request of the API goes through: its id, its record, its key, and errors in the API's shape."""

import asyncio
import secrets
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from local.upstream import errors
from local.upstream.errors import KINDS, ApiError
from local.upstream.recorder import KEPT_BODY_BYTES, RecordedRequest
from local.upstream.state import RECORD, REQUEST_ID, STATE

# Paths of the simulator itself: neither recorded nor guarded.
OWN_PATHS = "/_sim/"


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer its id."""
    if REQUEST_ID in request:
        response.headers["request-id"] = request[REQUEST_ID]


@web.middleware
async def tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what is raised into the API's error body."""
    request[REQUEST_ID] = f"req_{secrets.token_hex(12)}"
    try:
        return await handler(request)
    except ApiError as raised:
        error = raised
    except web.HTTPException as raised:
        error = ApiError(raised.status if raised.status in KINDS else 500, raised.reason)
    body = errors.encoded(error, request[REQUEST_ID])
    return web.Response(status=error.status, body=body, content_type="application/json", headers=error.headers)


@web.middleware
async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep the request, and note how its answer went."""
    if request.path.startswith(OWN_PATHS):
        return await handler(request)
    kept = request[RECORD] = await _read(request)
    with request.app[STATE].recorder.recording(kept):
        try:
            return await _answer(request, handler, kept)
        except asyncio.CancelledError:
            _note_hang_up(request, kept)
            raise
        except ConnectionError:
            _note_hang_up(request, kept)
            return web.StreamResponse()  # goes nowhere


@web.middleware
async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request without a key, or with another than the one required."""
    if not request.path.startswith(OWN_PATHS):
        wanted, given = request.app[STATE].api_key, _key(request)
        if not given or (wanted is not None and given != wanted):
            raise ApiError(401, "invalid x-api-key" if given else "x-api-key header is required")
    return await handler(request)


async def _read(request: web.Request) -> RecordedRequest:
    raw = await request.read()
    return RecordedRequest(
        method=request.method,
        path=request.path,
        query=request.query_string,
        headers={name.lower(): value for name, value in request.headers.items()},
        raw_body=raw if len(raw) <= KEPT_BODY_BYTES else None,
        body_bytes=len(raw),
        request_id=request[REQUEST_ID],
        received_at=time.time(),
    )


async def _answer(request: web.Request, handler: Handler, kept: RecordedRequest) -> web.StreamResponse:
    try:
        response = await handler(request)
    except (ApiError, web.HTTPException) as error:
        kept.status, kept.finished = error.status, True
        raise
    if isinstance(response, web.Response):
        kept.status, kept.finished = response.status, True
    return response


def _note_hang_up(request: web.Request, kept: RecordedRequest) -> None:
    # A simulator that stops ends its connections itself.
    if not request.app[STATE].stopping:
        kept.hung_up_at = time.time()


def _key(request: web.Request) -> str:
    bearer = request.headers.get("authorization", "")
    return request.headers.get("x-api-key") or bearer.removeprefix("Bearer").strip()
