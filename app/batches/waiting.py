"""Answering the engine where it waits for what somebody decides."""

from typing import Final
from uuid import UUID

from app.batches import repository
from app.batches.repository import Batch
from app.batches.workflow import Workflow
from app.db.pool import Pool

# Of the statuses in which nothing is decided.
UNDECIDED: Final = ("awaiting_approval", "paused")
REJECTED: Final = "Rejected"
CANCELLED: Final = "Cancelled"


async def answer_waiting(pool: Pool, workflow: Workflow, id: UUID) -> bool:
    """Tell the engine what was decided; False if nothing was yet.

    Where it cannot be told, the token stays, and the maintenance run tells it.
    """
    async with pool.connection() as conn, conn.transaction():
        batch = await repository.lock(conn, id)
        token = await repository.token(conn, id)
    if batch is None or token is None or not is_decided(batch):
        return False
    if await workflow.answer(token, _error(batch)):
        async with pool.connection() as conn:
            await repository.forget_token(conn, id, token)
    return True


def is_decided(batch: Batch) -> bool:
    return batch.ends_as is not None or batch.status not in UNDECIDED


def _error(batch: Batch) -> str | None:
    if batch.status == "rejected":
        return REJECTED
    return CANCELLED if batch.ends_as is not None or batch.status in ("cancelled", "failed", "expired") else None
