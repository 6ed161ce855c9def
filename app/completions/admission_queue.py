"""Admissions that come while others are under way go together in the next call.

All requests of one key wait for the lock of its meter, which each transaction holds until it is committed: decided on
one by one, fifty at once would wait for fifty commits.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import psycopg

from app.completions.repository import Admission
from app.completions.submission import Submission, admit, admit_alone
from app.db.pool import Pool

# One waits for its commit while the other's statement runs; more would only share what there is into smaller calls.
_CALLS: Final = 2
_AT_MOST: Final = 50

_Waiting = tuple[Submission, asyncio.Future[Admission]]


class AdmissionQueue:
    """Used within an `async with`; those that wait at its end are refused."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._came = asyncio.Event()
        self._callers: list[asyncio.Task[None]] = []

    async def admit(self, submission: Submission) -> Admission:
        """
        Raises:
            psycopg.DataError: it cannot be stored.
            psycopg.OperationalError, PoolTimeout: the database is not there.
        """
        if not submission.stands_alone:
            async with self._pool.connection() as conn:
                return await admit(conn, submission)
        decided = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, decided))
        self._came.set()
        admission: Admission = await decided
        return admission

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._callers = [loop.create_task(self._call_for_ever()) for _ in range(_CALLS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        for _, decided in self._waiting:
            decided.cancel()

    async def _call_for_ever(self) -> None:
        while True:
            await self._came.wait()
            turn = self._take()
            if not self._waiting:
                self._came.clear()
            if turn:
                await self._decide(turn)

    def _take(self) -> list[_Waiting]:
        """Those whose turn it is: of one instance, and without those who have left."""
        here = [each for each in self._waiting if not each[1].done()]
        turn: list[_Waiting] = []
        self._waiting = []
        for each in here:
            fits = len(turn) < _AT_MOST and each[0].instance == here[0][0].instance
            (turn if fits else self._waiting).append(each)
        return turn

    async def _decide(self, turn: Sequence[_Waiting]) -> None:
        try:
            admissions = await self._call([submission for submission, _ in turn])
        except psycopg.DataError as exc:
            if len(turn) > 1:  # one of them; the others are none the worse for it
                for each in turn:
                    await self._decide([each])
                return
            _refuse(turn, exc)
        except Exception as exc:
            _refuse(turn, exc)
        else:
            for (_, decided), admission in zip(turn, admissions, strict=True):
                with suppress(asyncio.InvalidStateError):
                    decided.set_result(admission)

    async def _call(self, submissions: Sequence[Submission]) -> list[Admission]:
        async with self._pool.connection() as conn:
            return await admit_alone(conn, submissions)


def _refuse(turn: Sequence[_Waiting], exc: Exception) -> None:
    for _, decided in turn:
        if not decided.done():
            decided.set_exception(exc)
