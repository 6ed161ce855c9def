"""What a request for a completion is answered with: one that it has begun, or one that it had begun before."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from uuid import UUID

from starlette.types import Receive

from app.domain.events import Error, parse
from app.domain.limits import Limits
from app.domain.message import MessageFold
from app.domain.told_error import ToldError
from app.streaming.generation import Generation
from app.streaming.log import Log
from app.streaming.whole_answer import wait_for_end


class Answer(Protocol):
    """`replayed` says that an earlier request with the same idempotency key has begun it."""

    id: UUID
    replayed: bool
    limits: Limits

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
    """Running somewhere, or finished: all there is of it is its log."""

    replayed = True

    def __init__(self, id: UUID, source: AbstractContextManager[Log]) -> None:
        self.id = id
        self.limits = Limits()
        self._source = source

    def reading(self) -> AbstractContextManager[Log]:
        return self._source

    async def whole(self, receive: Receive) -> MessageFold | None:
        with self._source as log:
            return _folded(log) if await wait_for_end(nullcontext(log), receive) else None


def _folded(log: Log) -> MessageFold:
    fold = MessageFold()
    for event in log.after(0):
        body = parse(event.data)
        if isinstance(body, Error):
            raise ToldError(body)
        fold.apply(body)
    return fold
