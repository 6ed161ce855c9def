"""Reading a log without streaming: for answers in one piece."""

import asyncio
from contextlib import AbstractContextManager

from starlette.types import Receive

from app.streaming.log import Log


async def wait_for_end(source: AbstractContextManager[Log], receive: Receive) -> bool:
    """Be a reader until the log has ended; False if the client left before."""
    with source as log:
        ended = asyncio.create_task(log.wait_ended())
        left = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait([ended, left], return_when=asyncio.FIRST_COMPLETED)
            return ended.done()
        finally:
            ended.cancel()
            left.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
