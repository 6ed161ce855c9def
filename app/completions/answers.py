"""What a request for a completion is answered with: one that it has begun, or one that it had begun before."""

import asyncio
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from uuid import UUID

from starlette.types import Receive

from app.domain.events import Error, parse
from app.domain.limits import Limits
from app.domain.message import MessageFold
from app.domain.told_error import ToldError
from app.streaming.generation import Generation, LimitReached
from app.streaming.log import Log
from app.streaming.whole_answer import wait_for_end


class Answer(Protocol):
    """`replayed` says that an earlier request with the same idempotency key has begun it.

    `upstream_ms` is what the upstream took until its first event, where this request has waited for it.
    """

    id: UUID
    replayed: bool
    limits: Limits
    upstream_ms: float | None

    def reading(self) -> AbstractContextManager[Log]:
        """Its log, for one reader."""

    async def whole(self, receive: Receive) -> MessageFold | None:
        """What it came to, once that is committed; None if the caller left before.

        Raises:
            AppError: it ended with an error.
        """


class Begun:
    """Just admitted, and running here."""

    replayed = False

    def __init__(self, generation: Generation, limits: Limits) -> None:
        self.id = generation.id
        self.limits = limits
        self.upstream_ms = generation.upstream_ms
        self._generation = generation

    def reading(self) -> AbstractContextManager[Log]:
        return self._generation.reading()

    async def whole(self, receive: Receive) -> MessageFold | None:
        if not await wait_for_end(self._generation.reading(), receive):
            return None
        if self._generation.error is not None:
            raise self._generation.error
        return self._generation.fold


class Found:
    """Running somewhere, or finished: all there is of it is its log. `ends_by` is when the request's time is over."""

    upstream_ms: float | None = None

    def __init__(
        self,
        id: UUID,
        source: AbstractContextManager[Log],
        ends_by: float | None,
        *,
        replayed: bool,
        limits: Limits | None = None,
    ) -> None:
        self.id = id
        self.replayed = replayed
        self.limits = limits or Limits()
        self._source = source
        self._ends_by = ends_by

    def reading(self) -> AbstractContextManager[Log]:
        return self._source

    async def whole(self, receive: Receive) -> MessageFold | None:
        left = self._ends_by - time.time() if self._ends_by is not None else None
        try:
            async with asyncio.timeout(left):
                with self._source as log:
                    return _folded(log) if await wait_for_end(nullcontext(log), receive) else None
        except TimeoutError:
            raise LimitReached(
                "The time of this request is over, not the answer's: ask for it later.", code="deadline"
            ) from None


def _folded(log: Log) -> MessageFold:
    fold = MessageFold()
    for event in log.after(0):
        body = parse(event.data)
        if isinstance(body, Error):
            raise ToldError(body)
        fold.apply(body)
    return fold
