"""What a batch's items have come to: JSON Lines, read from the store a page at a time."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.batches import items
from app.batches.items import Result
from app.batches.repository import Batch
from app.completions import repository as completions
from app.completions.repository import CompletionRow
from app.completions.schemas import full
from app.db.pool import Pool
from app.domain.errors import Conflict

MEDIA_TYPE: Final = "application/jsonl"
# Answers may be long: so many at once in memory.
_PAGE: Final = 25


def check_readable(batch: Batch) -> None:
    """
    Raises:
        Conflict: its results cannot be read yet, or never, since nobody has approved them.
    """
    if not batch.is_final:
        raise Conflict("The batch has not ended.", code="batch_running")
    if batch.approval == "before_release" and batch.approved_at is None:
        raise Conflict("The results of this batch were not approved.", code="not_approved")


async def lines(pool: Pool, batch: Batch, lease: float, *, after: int, limit: int) -> AsyncIterator[bytes]:
    """A line an item, in their order: up to `limit` past the first `after`. No connection is held while it is sent."""
    last = after + limit
    while True:
        async with pool.connection() as conn:
            page = await items.results(conn, batch.id, after, min(_PAGE, last - after))
            ids = [result.completion_id for result in page if result.completion_id is not None]
            rows = await completions.by_id(conn, batch.tenant, ids, lease)
        if not page:
            return
        yield b"".join([_line(result, rows) for result in page])
        after = page[-1].position


def _line(result: Result, rows: dict[Any, CompletionRow]) -> bytes:
    row = rows.get(result.completion_id)
    line = {
        "custom_id": result.custom_id,
        "status": result.status,
        "completion": _answer(row) if row is not None else None,
        "error": Raw(result.error) if result.error is not None else None,
    }
    return msgspec.json.encode(line) + b"\n"


def _answer(row: CompletionRow) -> dict[str, Any]:
    """The caller has the request."""
    return {name: value for name, value in full(row).items() if name != "request"}
