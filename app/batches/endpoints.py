"""`/v1/batches`."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from app.batches.parts import BatchParts
from app.batches.repository import Batch
from app.batches.results import MEDIA_TYPE, check_readable, lines
from app.batches.schemas import MAX_ITEMS, out
from app.batches.service import Batches, no_batch
from app.batches.stream import progress_stream
from app.dependencies import (
    POSITION,
    IdempotencyDep,
    PageDep,
    PoolDep,
    Requires,
    SettingsDep,
    page_of,
    replay_headers,
    stream_position,
)
from app.domain.errors import InvalidRequest
from app.domain.principal import Principal, Scope

router = APIRouter(prefix="/v1/batches", tags=["batches"])

Caller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]
Approver = Annotated[Principal, Depends(Requires(Scope.APPROVALS))]


async def _parts(request: Request) -> BatchParts:
    return request.state.batches  # type: ignore[no-any-return]


async def _batches(parts: Annotated[BatchParts, Depends(_parts)]) -> Batches:
    return parts.service


async def _id(batch_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    """What is no id names no batch."""
    try:
        return UUID(batch_id)
    except ValueError:
        raise no_batch() from None


Parts = Annotated[BatchParts, Depends(_parts)]
BatchesDep = Annotated[Batches, Depends(_batches)]
BatchId = Annotated[UUID, Depends(_id)]


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def _answer(batch: Batch) -> Response:
    return _json(out(batch))


@router.post("", status_code=201, summary="Create a batch")
async def create(
    request: Request, caller: Caller, batches: BatchesDep, settings: SettingsDep, again: IdempotencyDep
) -> Response:
    """All items are checked before anything is stored. They begin at once, in their order, `parallelism` at a time."""
    batch, replayed = await batches.create(caller, await request.body(), again)
    headers = {"location": settings.location(f"/v1/batches/{batch.id}"), **replay_headers(replayed)}
    return _json(out(batch), 201, headers)


@router.get("", summary="List batches")
async def list_batches(caller: Caller, batches: BatchesDep, page: PageDep) -> Response:
    """The newest first."""
    rows = await batches.page(caller, page.cursor, page.limit + 1)
    return _json(page_of([out(row) for row in rows], page))


@router.get("/{batch_id}", summary="Read a batch")
async def read(id: BatchId, caller: Caller, batches: BatchesDep) -> Response:
    """Its status, and how many of its items have which."""
    return _answer(await batches.get(caller, id))


@router.get("/{batch_id}/results", summary="Read a batch's results")
async def results(
    id: BatchId,
    caller: Caller,
    batches: BatchesDep,
    pool: PoolDep,
    settings: SettingsDep,
    after: Annotated[int, Query(ge=0, le=MAX_ITEMS, description="How many of the lines you have.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="How many more you want, at the most.")] = MAX_ITEMS,
) -> StreamingResponse:
    """JSON Lines, one an item, in their order. Once it has ended and, where that is asked for, was approved."""
    batch = await batches.get(caller, id)
    check_readable(batch)
    return StreamingResponse(lines(pool, batch, settings.lease, after=after, limit=limit), media_type=MEDIA_TYPE)


@router.get("/{batch_id}/stream", summary="Watch a batch, from any position")
async def stream(
    request: Request,
    id: BatchId,
    caller: Caller,
    parts: Parts,
    settings: SettingsDep,
    last_event_id: Annotated[
        str | None, Header(description="The position of the last event that you have.", json_schema_extra=POSITION)
    ] = None,
    after: Annotated[
        str | None,
        Query(description="As `Last-Event-ID`, for clients that cannot set headers.", json_schema_extra=POSITION),
    ] = None,
) -> Response:
    """Every change of the batch and of its items past the position, then what comes live. 204 when there is no more."""
    told, asked = stream_position(last_event_id), stream_position(after)
    position = told if last_event_id else asked
    batch = await parts.service.get(caller, id)
    if position > batch.last_seq:
        raise InvalidRequest("The position lies beyond the end of the stream.", code="position_beyond_end")
    if batch.is_final and position == batch.last_seq:
        return Response(status_code=204)
    ends_by = getattr(request.state, "ends_by", None)
    return progress_stream(parts.watch.reading(id), settings, after=position, ends_by=ends_by)


@router.post("/{batch_id}/cancel", summary="Cancel a batch")
async def cancel(id: BatchId, caller: Caller, batches: BatchesDep) -> Response:
    """What runs is stopped, what waits never begins, and what has ended stays."""
    return _answer(await batches.cancel(caller, id))


@router.post("/{batch_id}/retry", summary="Try again what did not succeed")
async def retry(id: BatchId, caller: Caller, batches: BatchesDep) -> Response:
    """Items that failed or were cancelled begin anew, in another round, with as much time as the last one had."""
    return _answer(await batches.retry(caller, id))


@router.post("/{batch_id}/resume", summary="Go on with a paused batch")
async def resume(id: BatchId, caller: Caller, batches: BatchesDep) -> Response:
    """After a budget was raised. A paused batch also looks by itself, every six hours."""
    return _answer(await batches.resume(caller, id))


@router.post("/{batch_id}/approve", summary="Approve a batch's results")
async def approve(id: BatchId, approver: Approver, batches: BatchesDep) -> Response:
    """They can be read from here on. It works once, and is noted in the audit."""
    return _answer(await batches.approve(approver, id))


@router.post("/{batch_id}/reject", summary="Reject a batch's results")
async def reject(id: BatchId, approver: Approver, batches: BatchesDep) -> Response:
    """What they came to is never released by the batch. It works once, and is noted in the audit."""
    return _answer(await batches.reject(approver, id))
