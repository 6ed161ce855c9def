"""What callers may do to batches, and when."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg

from app.access import audit
from app.batches import items, repository
from app.batches.forms import Forms, new_batch
from app.batches.repository import Batch, Connection
from app.batches.schemas import NewBatch, NewItem
from app.batches.steps import end_now
from app.batches.waiting import answer_waiting
from app.batches.workflow import Workflow, no_workflow
from app.catalogue import Catalogue
from app.config import Settings
from app.db import idempotency
from app.db.pool import Pool
from app.domain.completion import Idempotency
from app.domain.errors import Conflict, NotConfigured, NotFound, Unprocessable
from app.domain.ids import uuid7
from app.domain.principal import Principal

# Of a batch that names no deadline.
_DEFAULT_LIMIT: Final = 7 * 86400.0


class Batches:
    """Without a `workflow` they can be read and ended; none can begin."""

    def __init__(self, pool: Pool, settings: Settings, catalogue: Catalogue, workflow: Workflow | None) -> None:
        self._pool = pool
        self._settings = settings
        self._catalogue = catalogue
        self._workflow = workflow

    async def create(self, principal: Principal, raw: bytes, again: Idempotency | None) -> tuple[Batch, bool]:
        """Store a batch and have it begin; and whether an earlier request with the same idempotency key had done so.

        Raises:
            NotConfigured: there is no engine.
            AppError: something is wrong with the batch or with one of its items.
        """
        workflow = self._engine()
        assert principal.key_id is not None
        # Thousands of items take a while, which the streams of this process are not to wait for.
        new, wanted, requests = await asyncio.to_thread(self._read, principal, raw)
        id = uuid7()
        async with self._pool.connection() as conn, conn.transaction():
            if made := await idempotency.claim(conn, principal.tenant, again, id):
                return await self._existing(conn, principal, made), True
            try:
                await repository.insert(
                    conn,
                    id=id,
                    tenant=principal.tenant,
                    key_id=principal.key_id,
                    parallelism=new.parallelism,
                    on_failure=new.on_failure,
                    approval=new.approval,
                    metadata=new.metadata,
                    deadline=new.deadline,
                    default_limit=_DEFAULT_LIMIT,
                    custom_ids=[item.custom_id for item in wanted],
                    requests=requests,
                )
            except (psycopg.DataError, psycopg.errors.StatementTooComplex):
                told = "metadata: Holds something that cannot be stored, such as NUL"
                raise Unprocessable(told, param="metadata") from None
        try:
            await self._start(workflow, id, 1)
        except NotConfigured:
            async with self._pool.connection() as conn, conn.transaction():
                await idempotency.forget(conn, id)
                await repository.delete(conn, id)
            raise
        return await self.get(principal, id), False

    async def get(self, principal: Principal, id: UUID) -> Batch:
        """
        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        async with self._pool.connection() as conn:
            return await self._existing(conn, principal, id)

    async def page(self, principal: Principal, cursor: UUID | None, limit: int) -> Sequence[Batch]:
        """The newest first; `limit` of them at the most, older than `cursor`."""
        async with self._pool.connection() as conn:
            return await repository.page(conn, principal.tenant, cursor, limit)

    async def cancel(self, principal: Principal, id: UUID) -> Batch:
        """Stop what runs, and begin nothing more. What has ended stays as it is."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, principal, id)
            if not batch.is_final and batch.ends_as is None:
                await _cancel(conn, batch)
                if self._workflow is None:  # nobody else would bring it to its end
                    await end_now(conn, id)
        return await self._told(principal, id)

    async def retry(self, principal: Principal, id: UUID) -> Batch:
        """Begin another round with the items that did not succeed.

        Raises:
            NotConfigured: there is no engine. Where it is gone only now, the batch waits for it.
            Conflict: it has not ended, was rejected, or has no such items.
        """
        workflow = self._engine()
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, principal, id)
            if not batch.is_final:
                raise Conflict("The batch has not ended: wait, or cancel it.", code="batch_running")
            if batch.status == "rejected" or not batch.failed + batch.cancelled:
                raise Conflict("The batch has nothing to try again.", code="nothing_to_retry")
            await repository.next_round(conn, id)
            await items.renew(conn, id)
            await repository.turn(conn, id, "queued")
        await self._start(workflow, id, batch.round + 1)
        return await self.get(principal, id)

    async def resume(self, principal: Principal, id: UUID) -> Batch:
        """Go on after a pause: the next plan has it run.

        Raises:
            NotConfigured: there is no engine.
            Conflict: it is not paused.
        """
        self._engine()
        async with self._pool.connection() as conn, conn.transaction():
            batch = await _locked(conn, principal, id)
            if batch.status != "paused" or batch.ends_as is not None:
                raise Conflict("The batch is not paused.", code="not_paused")
            await repository.turn(conn, id, "queued")
        return await self._told(principal, id)

    async def approve(self, principal: Principal, id: UUID) -> Batch:
        """
        Raises:
            Conflict: it does not wait for that, or does not any more.
        """
        async with self._pool.connection() as conn, conn.transaction():
            await _awaiting(conn, principal, id)
            await repository.approve(conn, id)
            await _decide(conn, principal, id, "completed", "batch.approved")
        return await self._told(principal, id)

    async def reject(self, principal: Principal, id: UUID) -> Batch:
        """
        Raises:
            Conflict: it does not wait for that, or does not any more.
        """
        async with self._pool.connection() as conn, conn.transaction():
            await _awaiting(conn, principal, id)
            await _decide(conn, principal, id, "rejected", "batch.rejected")
        return await self._told(principal, id)

    def _read(self, principal: Principal, raw: bytes) -> tuple[NewBatch, list[NewItem], list[bytes]]:
        new, wanted = new_batch(raw)
        forms = Forms(principal, self._settings, self._catalogue)
        return new, wanted, [msgspec.json.encode(forms.request(item, at)) for at, item in enumerate(wanted)]

    def _engine(self) -> Workflow:
        if self._workflow is None:
            raise no_workflow()
        return self._workflow

    async def _start(self, workflow: Workflow, id: UUID, round: int) -> None:
        """If the engine cannot be told now, the maintenance run tells it."""
        if await workflow.start(id, round):
            async with self._pool.connection() as conn:
                await repository.note_started(conn, id, round)

    async def _told(self, principal: Principal, id: UUID) -> Batch:
        """The batch, of which the engine now knows what was decided."""
        if self._workflow is not None:
            await answer_waiting(self._pool, self._workflow, id)
        return await self.get(principal, id)

    async def _existing(self, conn: Connection, principal: Principal, id: UUID) -> Batch:
        batch = await repository.get(conn, principal.tenant, id)
        if batch is None:
            raise no_batch()
        return batch


async def _locked(conn: Connection, principal: Principal, id: UUID) -> Batch:
    batch = await repository.lock_of(conn, principal.tenant, id)
    if batch is None:
        raise no_batch()
    return batch


async def _awaiting(conn: Connection, principal: Principal, id: UUID) -> None:
    batch = await _locked(conn, principal, id)
    if batch.status != "awaiting_approval" or batch.is_late:
        raise Conflict("The batch does not wait for approval.", code="not_awaiting_approval")


async def _decide(conn: Connection, principal: Principal, id: UUID, status: str, action: str) -> None:
    """Once: with its lock held, and with a note of who it was."""
    await repository.turn(conn, id, status)
    decided: dict[str, Any] = {"batch_id": str(id), "status": status}
    await audit.note(conn, principal, principal.tenant, action, None, {}, decided)


async def _cancel(conn: Connection, batch: Batch) -> None:
    await repository.end_as(conn, batch.id, "cancelled", None)
    if batch.status == "awaiting_approval" or (batch.status == "queued" and not batch.started):
        # Nothing of it runs. If the engine has it all the same, it finds it ended.
        await items.move(conn, batch.id, None, items.UNFINISHED, "cancelled")
        await repository.turn(conn, batch.id, "cancelled")
        return
    await repository.turn(conn, batch.id, "cancelling")
    await items.cancel_completions(conn, batch.tenant, batch.id)


def no_batch() -> NotFound:
    return NotFound("There is no such batch.")
