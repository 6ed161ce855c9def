"""The ways in: a function URL, a REST API that streams, an HTTP API that does not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from local.aws_lambda import events, replies
from local.aws_lambda.invocation import Answer, Failure
from local.aws_lambda.service import Service, Throttled

_LARGEST_REQUEST: Final = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """`wait` is how long it waits for a whole answer. Statuses and messages are its own for what goes wrong."""

    event: Callable[[events.Received], dict[str, Any]]
    streams: bool
    infers: bool
    wait: float
    failed: tuple[int, str]
    throttled: tuple[int, str]
    late: tuple[int, str]


FRONT_DOORS: Final[Mapping[str, FrontDoor]] = {
    "url": FrontDoor(
        events.version_2,
        streams=True,
        infers=True,
        wait=900,
        failed=(502, "Internal Server Error"),
        throttled=(429, "Rate Exceeded."),
        late=(504, "Gateway Timeout"),
    ),
    "rest": FrontDoor(
        events.version_1,
        streams=True,
        infers=False,
        wait=900,
        failed=(502, "Internal server error"),
        throttled=(429, "Too Many Requests"),
        late=(504, "Endpoint request timed out"),
    ),
    "http": FrontDoor(
        events.version_2,
        streams=False,
        infers=True,
        wait=30,
        failed=(500, "Internal Server Error"),
        throttled=(503, "Service Unavailable"),
        late=(503, "Service Unavailable"),
    ),
}


def front_door_app(service: Service, door: FrontDoor) -> web.Application:
    """An application that answers any request by an invocation."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            answer = service.invoke(door.event(await _received(request))).answer
        except Throttled:
            return _told(door.throttled)
        try:
            async with asyncio.timeout(door.wait):
                await answer.begun()
                head, body = await _opened(answer, door)
        except (Failure, replies.BadReply):
            return _told(door.failed)
        except TimeoutError:
            return _told(door.late)
        return await _pass_on(request, head, body)

    app = web.Application(client_max_size=_LARGEST_REQUEST)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _received(request: web.Request) -> events.Received:
    peer = request.remote or ""
    headers = [(name, value) for name, value in request.headers.items() if name.lower() != "connection"]
    forwarded = {"X-Forwarded-For": peer, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}
    path, _, query = request.raw_path.partition("?")
    body = await request.read()
    return events.Received(request.method, path, query, [*headers, *forwarded.items()], body, peer)


async def _opened(answer: Answer, door: FrontDoor) -> tuple[replies.Head, AsyncIterator[bytes]]:
    """The head, and what yields the body as it comes.

    Raises:
        Failure: the invocation failed.
        BadReply: it did not answer in the form that this front door expects.
    """
    if door.streams and answer.streaming and answer.content_type == replies.INTEGRATION_RESPONSE:
        pieces = answer.pieces()
        head, first = await replies.read_head(pieces)
        return head, _after(first, pieces)
    head, body = replies.whole(await answer.whole(), inferred=door.infers)
    return head, _after(body, None)


async def _after(first: bytes, rest: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    if first:
        yield first
    if rest is not None:
        async for piece in rest:
            yield piece


async def _pass_on(request: web.Request, head: replies.Head, body: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(status=head.status)
    for name, value in head.headers:
        response.headers.add(name, value)
    try:
        await response.prepare(request)
        async for piece in body:
            await response.write(piece)
        await response.write_eof()
    except ConnectionResetError:  # the caller left, of which the function learns nothing
        pass
    except Failure:  # within the body there is no other way to say so
        if request.transport is not None:
            request.transport.abort()
    return response


def _told(refusal: tuple[int, str]) -> web.Response:
    status, message = refusal
    return web.json_response({"message": message}, status=status)
