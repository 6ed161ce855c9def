"""What the engine asks of a batch: which items there are, to run one of them, and what comes next.

The engine orders, waits and tries again; what a step comes to is decided here, under the batch's lock. Each may be
asked again, at any time and more than once at a time.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec

from app.access import holders
from app.batches import items, repository
from app.batches.items import UNFINISHED
from app.batches.repository import Batch, Connection
from app.batches.running import Failed, Lasts, Outcome, OverBudget, Refused, Run, Stopped, Succeeded, run
from app.batches.waiting import CANCELLED, answer_waiting
from app.batches.workflow import Workflow
from app.completions.repository import request_cancel
from app.completions.service import Completions
from app.db.pool import Pool
from app.domain.errors import AppError, Unauthenticated
from app.observability import arrive, bind

_DONE: Final = {"outcome": "done"}
_STOP: Final = {"outcome": "stop"}
_END: Final = {"next": "end"}
_NOTHING: Final[dict[str, Any]] = {"items": [], "parallelism": 1}
# Of an item that upstreams refuse: with the longest waits, the better part of two hours.
_MOST_WAITS: Final = 100
# Limits of our own make it wait until the deadline: they only make its waits longer, up to this count.
_MOST_OF_OURS: Final = 10
# Until a budget is looked at again that nobody said was raised: the month may have ended. Each pause is some 23 events
# of the execution's history, which holds 25,000 (quotas of Step Functions): 90 days of pauses are a third of it.
_BUDGET_PAUSE: Final = 6 * 3600
# Until the engine tries again what it gave up.
_BROKEN_PAUSE: Final = 30
# Without a sign of life for so long, the engine begins the wait anew. The maintenance run gives one.
_HEARTBEAT: Final = 3600
# Owners of cancelled completions look every second, and then have to commit.
_CANCELS_TAKE: Final = 8.0
_LOOK: Final = 0.2

CompletionsBy = Callable[[float], Completions]


class Steps:
    """`completions` gives a view of them that ends by a moment, in seconds since 1970.

    Each step is of a round, which has an execution of its own: of another round nothing is read and nothing changed.
    """

    def __init__(self, pool: Pool, workflow: Workflow | None, completions: CompletionsBy) -> None:
        self._pool = pool
        self._workflow = workflow
        self._completions = completions

    async def take(self, event: dict[str, Any], ends_by: float) -> dict[str, Any] | None:
        """What the engine is answered; None where it is none of its events.

        Raises:
            psycopg.Error: the database is away. Asked again, it may be there.
        """
        match event:
            case {"headwater": "batch_plan", "batch_id": str(id), "round": int(round)}:
                return await self.plan(UUID(id), round)
            case {"headwater": "batch_item", "batch_id": str(id), "round": int(round), "position": int(position)}:
                return await self.item(UUID(id), round, position, ends_by)
            case {
                "headwater": "batch_item_failed",
                "batch_id": str(id),
                "round": int(round),
                "position": int(position),
            }:
                return await self.item_failed(UUID(id), round, position)
            case {"headwater": "batch_settle", "batch_id": str(id), "round": int(round)}:
                return await self.settle(UUID(id), round)
            case {"headwater": "batch_wait", "batch_id": str(id), "round": int(round), "token": str(token)}:
                return await self.wait(UUID(id), round, token)
            case {"headwater": "batch_timed_out", "batch_id": str(id), "round": int(round)}:
                return await self.timed_out(UUID(id), round)
        return None

    async def plan(self, id: UUID, round: int) -> dict[str, Any]:
        """The positions that are still to be done. The batch runs from here on, also after a pause."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, id, round)
            if batch is None or batch.is_final or await _is_over(conn, batch):
                return _NOTHING
            await repository.note_started(conn, id, batch.round)
            await repository.keep_token(conn, id, None)
            if batch.status != "running":
                await repository.turn(conn, id, "running")
            return {"items": await items.to_do(conn, id), "parallelism": batch.parallelism}

    async def item(self, id: UUID, round: int, position: int, ends_by: float) -> dict[str, Any]:
        """Run an item to its end, here or by following what has begun elsewhere."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, id, round)
            if batch is None or not batch.is_open or await _is_over(conn, batch):
                return _STOP
            item = await items.get(conn, id, position)
            if item is None or item.status not in UNFINISHED:
                return _DONE
            await items.move(conn, id, [position], ["queued"], "running")
        asked = Run(
            request=item.request,
            key=f"batch:{id}:{position}:{batch.round}",
            completion_id=item.completion_id,
            waits=item.waits,
        )
        outcome = await self._run(batch, position, asked, ends_by)
        return await self._recorded(id, batch.round, position, outcome)

    async def _run(self, batch: Batch, position: int, asked: Run, ends_by: float) -> Outcome:
        async def attach(completion: UUID) -> None:
            async with self._pool.connection() as conn, conn.transaction():
                now = await repository.lock(conn, batch.id)
                same = now is not None and now.round == batch.round
                attached = same and await items.attach(conn, batch.id, position, completion)
                if not attached or now is None or now.ends_as is not None:  # nobody wants it any more
                    await request_cancel(conn, batch.tenant, completion)

        arrive()
        bind(tenant=batch.tenant, key_id=str(batch.key_id), batch_id=str(batch.id), position=position)
        try:
            async with self._pool.connection() as conn:
                principal = await holders.of_key(conn, batch.key_id)
        except Unauthenticated as exc:
            return Failed(exc)
        return await run(self._completions(ends_by), principal, asked, attach, ends_by)

    async def _recorded(self, id: UUID, round: int, position: int, outcome: Outcome) -> dict[str, Any]:
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, id, round)
            if batch is None:
                return _STOP
            match outcome:
                case Succeeded():
                    await items.move(conn, id, [position], UNFINISHED, "succeeded")
                case Stopped():
                    await items.move(conn, id, [position], UNFINISHED, "cancelled")
                case Failed(error):
                    return await _failed(conn, batch, position, error)
                case Refused():
                    return await _refused(conn, batch, position, outcome)
                case Lasts():
                    return {"outcome": "wait", "seconds": 1} if batch.is_open else _STOP
                case OverBudget():
                    await items.move(conn, id, [position], ["running"], "queued")
                    if batch.status == "running":  # one that was resumed meanwhile is not asked twice
                        await repository.turn(conn, id, "paused", "budget_exceeded")
                    return _STOP
            return _DONE if batch.is_open else _STOP

    async def item_failed(self, id: UUID, round: int, position: int) -> dict[str, Any]:
        """Its invocations kept failing. Why is in the log; it is nothing that a caller should read."""
        error = AppError("The item could not be run.", code="step_failed")
        return await self._recorded(id, round, position, Failed(error))

    async def settle(self, id: UUID, round: int) -> dict[str, Any]:
        """What comes next, once the items have ended or the engine has given up on them."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, id, round)
            if batch is None or batch.is_final:
                return _END
            if not await _is_over(conn, batch):
                return await _next(conn, batch)
            await items.cancel_completions(conn, batch.tenant, id)
        await self._wait_for_running(id)
        async with self._pool.connection() as conn, conn.transaction():
            if await _locked(conn, id, round) is not None:
                await end_now(conn, id)
        return _END

    async def _wait_for_running(self, id: UUID) -> None:
        """Items whose completions were cancelled record it themselves, if their invocation lives."""
        for _ in range(int(_CANCELS_TAKE / _LOOK)):
            async with self._pool.connection() as conn:
                if not await items.any_running(conn, id):
                    return
            await asyncio.sleep(_LOOK)

    async def wait(self, id: UUID, round: int, token: str) -> dict[str, Any]:
        """The engine waits for an answer by `token`: until somebody decides, or at once where that has been done."""
        async with self._pool.connection() as conn, conn.transaction():
            is_current = await _locked(conn, id, round) is not None
            if is_current:
                await repository.keep_token(conn, id, token)
        if self._workflow is not None:
            if is_current:
                await answer_waiting(self._pool, self._workflow, id)
            else:  # nobody would: it settles, and ends
                await self._workflow.answer(token, CANCELLED)
        return {"status": "waiting"}

    async def timed_out(self, id: UUID, round: int) -> dict[str, Any]:
        """Nobody has approved it in time."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, id, round)
            if batch is not None and batch.status == "awaiting_approval":
                await repository.keep_token(conn, id, None)
                await repository.turn(conn, id, "expired", "not_approved")
        return _END


async def _locked(conn: Connection, id: UUID, round: int) -> Batch | None:
    """The batch, if it is in this round. An earlier one's engine may come late, and has no say any more."""
    batch = await repository.lock(conn, id)
    return batch if batch is not None and batch.round == round else None


async def _is_over(conn: Connection, batch: Batch) -> bool:
    """Whether it is decided how it ends, as where its time is over and it is not done."""
    if batch.ends_as is None and batch.is_late and batch.unfinished:
        await repository.end_as(conn, batch.id, "expired", "deadline")
        return True
    return batch.ends_as is not None


async def _failed(conn: Connection, batch: Batch, position: int, error: AppError) -> dict[str, Any]:
    told = msgspec.json.encode({"type": error.type, "code": error.code, "message": error.message})
    await items.move(conn, batch.id, [position], UNFINISHED, "failed", told)
    if batch.on_failure == "stop" and batch.ends_as is None and not batch.is_final:
        await repository.end_as(conn, batch.id, "failed", "item_failed")
        return _STOP
    return _DONE if batch.is_open else _STOP


async def _refused(conn: Connection, batch: Batch, position: int, refused: Refused) -> dict[str, Any]:
    item = await items.get(conn, batch.id, position)
    if item is None or (item.waits >= _MOST_WAITS and not refused.ours):
        return await _failed(conn, batch, position, refused.error)
    if item.completion_id == refused.completion:  # else another step has begun it anew meanwhile
        await items.move(conn, batch.id, [position], ["running"], "queued")
        await items.note_wait(conn, batch.id, position, _MOST_OF_OURS if refused.ours else _MOST_WAITS)
    seconds = max(1, min(refused.seconds, math.ceil(batch.seconds_left)))
    return {"outcome": "wait", "seconds": seconds} if batch.is_open else _STOP


async def _next(conn: Connection, batch: Batch) -> dict[str, Any]:
    left = max(1, int(batch.seconds_left))
    if batch.unfinished:
        # One that is queued was paused and is resumed already: its wait is answered as soon as it begins.
        if batch.status not in ("paused", "queued"):  # the engine has given up on them
            await repository.turn(conn, batch.id, "paused", "interrupted")
        over_budget = batch.status == "paused" and batch.reason == "budget_exceeded"
        return {"next": "pause", "seconds": min(left, _BUDGET_PAUSE if over_budget else _BROKEN_PAUSE)}
    if batch.status == "awaiting_approval" and batch.is_late:
        await repository.turn(conn, batch.id, "expired", "not_approved")
        return _END
    if batch.approval == "before_release":
        if batch.status != "awaiting_approval":
            await repository.turn(conn, batch.id, "awaiting_approval")
        # A heartbeat has to be shorter than the time in which it is heard (Amazon States Language, Task).
        left = max(2, left)
        return {"next": "approval", "seconds": left, "heartbeat": min(_HEARTBEAT, left - 1)}
    await repository.turn(conn, batch.id, "completed")
    return _END


async def end_now(conn: Connection, id: UUID) -> None:
    """Make it what it ends as, and cancelled what of it has not ended."""
    batch = await repository.lock(conn, id)
    if batch is None or batch.is_final or batch.ends_as is None:
        return
    await items.move(conn, id, None, UNFINISHED, "cancelled")
    await repository.turn(conn, id, batch.ends_as, batch.reason)
