"""Running one item: its completion, as any other request's, and what its end means for the item."""

import asyncio
import hashlib
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Final
from uuid import UUID

import msgspec

from app.completions.service import Completions
from app.domain.completion import CompletionRequest, Idempotency, Status
from app.domain.errors import AppError, BudgetExceeded, Gone, PermissionDenied, RateLimited, Unavailable
from app.domain.events import Error, parse
from app.domain.principal import Principal, Scope
from app.domain.told_error import ToldError
from app.streaming.log import Log

# Refused by the upstream before anything had begun, and so not paid for.
_BUSY: Final = ("upstream_rate_limited", "upstream_overloaded")
_CANCELLED: Final = "cancelled"
# Waits grow from the first of these to the second, in seconds.
_FIRST_WAIT: Final = 2.0
_LONGEST_WAIT: Final = 120.0
# Of what an upstream asks for, which decides how late a cancelled batch is noticed.
_LONGEST_ASKED: Final = 900.0
# Behind the time by which generations end: what those have to say last is still heard.
_LAST_WORDS: Final = 5.0


class Succeeded(msgspec.Struct, frozen=True):
    pass


class Failed(msgspec.Struct, frozen=True):
    error: AppError


class Stopped(msgspec.Struct, frozen=True):
    """Its completion was cancelled."""


class Refused(msgspec.Struct, frozen=True):
    """Nothing has begun, and it may be tried again after so many seconds.

    `completion` is as far as it had got, which has ended with nothing; `ours` says that it was a limit of the key or of
    this installation, and no upstream's.
    """

    error: AppError
    seconds: int
    completion: UUID | None
    ours: bool


class OverBudget(msgspec.Struct, frozen=True):
    """Nothing has begun, and nothing else will."""


class Lasts(msgspec.Struct, frozen=True):
    """It runs on elsewhere, beyond the time that there is here."""


Outcome = Succeeded | Failed | Stopped | Refused | OverBudget | Lasts


class Run(msgspec.Struct, frozen=True):
    """One try of an item. `key` is the same for every try of a round: what has begun is found again by it.

    `request` is as it was stored, so that its hash survives new versions of us. `completion_id` is what it has begun,
    where that is known already; `waits` is how often it was refused before.
    """

    request: bytes
    key: str
    completion_id: UUID | None
    waits: int

    @property
    def idempotent(self) -> CompletionRequest:
        request = msgspec.json.decode(self.request, type=CompletionRequest)
        again = Idempotency(self.key, hashlib.sha256(self.request).digest())
        return msgspec.structs.replace(request, idempotency=again)


async def run(
    completions: Completions,
    principal: Principal,
    asked: Run,
    attach: Callable[[UUID], Awaitable[None]],
    ends_by: float,
) -> Outcome:
    """Begin the item's completion, or find it again, and be there until it ends; `attach` is told which it is."""
    try:
        id, source = await _source(completions, principal, asked, attach)
    except BudgetExceeded:
        return OverBudget()
    except Gone as exc:
        return await _kept(completions, principal, asked, exc)
    except AppError as exc:
        ours = isinstance(exc, (RateLimited, Unavailable)) and exc.should_retry is not False
        return _ended(
            exc, asked.waits, begun=not ours and exc.code not in _BUSY, completion=asked.completion_id, ours=ours
        )
    try:
        async with asyncio.timeout(ends_by + _LAST_WORDS - time.time()):
            return await _followed(id, source, asked.waits)
    except TimeoutError:
        return Lasts()


async def _source(
    completions: Completions, principal: Principal, asked: Run, attach: Callable[[UUID], Awaitable[None]]
) -> tuple[UUID, AbstractContextManager[Log]]:
    if Scope.COMPLETIONS not in principal.scopes:
        raise PermissionDenied("This key lacks the scope `completions`.", code="missing_scope")
    if asked.completion_id is not None:
        source = await completions.log(principal, asked.completion_id, 0)
        assert source is not None  # there is no end at position 0
        return asked.completion_id, source
    answer = await completions.create(principal, asked.idempotent)
    await attach(answer.id)
    return answer.id, answer.reading()


async def _kept(completions: Completions, principal: Principal, asked: Run, gone: Gone) -> Outcome:
    """Behind a long pause its log may be gone. What it came to is kept for longer."""
    assert asked.completion_id is not None
    row = await completions.get(principal, asked.completion_id)
    if row.status == Status.COMPLETED:
        return Succeeded()
    error = ToldError(msgspec.json.decode(row.error, type=Error)) if row.error is not None else gone
    return _ended(error, asked.waits, begun=True, completion=row.id)


async def _followed(id: UUID, source: AbstractContextManager[Log], waits: int) -> Outcome:
    with source as log:
        await log.wait_ended()
        events = log.after(0)
    end = parse(events[-1].data)
    if not isinstance(end, Error):
        return Succeeded()
    error = ToldError(end)
    return _ended(error, waits, begun=len(events) > 1 or error.code not in _BUSY, completion=id)


def _ended(error: AppError, waits: int, *, begun: bool, completion: UUID | None, ours: bool = False) -> Outcome:
    """What may have begun is never asked of the upstream again: it may have been paid for."""
    if error.code == _CANCELLED:
        return Stopped()
    return Failed(error) if begun else Refused(error, _wait(error, waits), completion, ours)


def _wait(error: AppError, waits: int) -> int:
    """Whole seconds: what was asked for, within reason, and behind that full jitter, so that not all come at once."""
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(waits, 10))
    return max(1, math.ceil(min(error.retry_after or 0, _LONGEST_ASKED) + random.uniform(0, longest)))
