"""From a request in any dialect to a running generation, and back to it later."""

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Depends, Request

from app.catalogue import Catalogue
from app.completions import held_back, repository
from app.completions.admission import Accepted, Admissions
from app.completions.admission_queue import AdmissionQueue
from app.completions.answers import Answer, Begun, Found
from app.completions.history import history, lift_system
from app.completions.refusals import limits_of
from app.completions.repository import Admission, CompletionRow, Connection, Filter, StreamRow
from app.config import Settings
from app.db.pool import Pool
from app.domain.completion import CompletionRequest, Idempotency, Status
from app.domain.errors import AppError, Conflict, Gone, InvalidRequest, NotFound, PermissionDenied
from app.domain.events import Event
from app.domain.ids import uuid7
from app.domain.principal import Principal
from app.observability import Metric, bind, counted_refusals, keys, link, meter, traceparent
from app.providers.base import Provider, ProviderRequest
from app.streaming.billing import Account
from app.streaming.engine import Engine
from app.streaming.generation import Admitted, Cancelled, Generation
from app.streaming.hand_over import HandOver
from app.streaming.head_start import HeadStart
from app.streaming.interruption import LOST_AT_MOST
from app.streaming.log import Log, StoredLog
from app.streaming.settlement import decompress, error_end

_log = logging.getLogger(__name__)

# A cancelled generation has closed its upstream and committed by then, or its database is away.
_CANCEL_WAIT = 2.0

Prepare = Callable[[Connection, UUID], Awaitable[CompletionRequest]]


class Completions:
    """One request's view of the completions: what endpoints of every dialect call.

    `ends_by` is when the home's time for the request is over, in seconds since 1970; None where it has no such limit.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        pool: Pool,
        engine: Engine,
        queue: AdmissionQueue,
        hand_over: HandOver | None,
        request_id: str,
        ends_by: float | None,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._pool = pool
        self._engine = engine
        self._hand_over = hand_over
        self._request_id = request_id
        self._ends_by = ends_by
        self._admissions = Admissions(settings, pool, engine, queue)

    async def create(self, principal: Principal, request: CompletionRequest) -> Answer:
        """Admit and launch; returns at the first event, or when it is time to answer without one.

        What is stored, and asked of the upstream, is the model that an alias stands for. A request that was admitted
        before, by its idempotency key, is answered with what came of it.

        Raises:
            AppError: refused here, or by the upstream before its first event.
        """
        request = self._with_upstreams_name(request)
        with counted_refusals():
            self._check(principal, request)
        id = uuid7()
        if request.background and self._hand_over is not None:
            return await self._handed_over(id, principal, request, self._hand_over)
        # The first caller may have to wait for it, before its answer's own clock runs.
        provider = await self._engine.provider()
        with counted_refusals(), self._engine.registry.place(), self._head_start(provider, request) as head_start:
            accepted = await self._admissions.admit(id, principal, request)
            generation = self._launched(id, principal, accepted, head_start)
        return await self._answer(principal, accepted, generation)

    async def _handed_over(
        self, id: UUID, principal: Principal, request: CompletionRequest, hand_over: HandOver
    ) -> Answer:
        """Admitted here, and produced elsewhere."""

        async def keep(conn: Connection, accepted: Accepted) -> None:
            admitted = self._admitted(id, accepted, None)
            # Only now is it known what came before, which other keys may have put there.
            held_back.check(principal, admitted.request.body, admitted.request.body["messages"])
            await hand_over.keep(conn, admitted)

        with counted_refusals():
            accepted = await self._admissions.admit_for_another(id, principal, request, keep)
        if accepted.admission.duplicate is not None:
            return await self._again(principal, accepted.admission.duplicate)
        await hand_over.send(id)
        return Found(id, self._engine.source(id), self._ends_by, replayed=False, limits=limits_of(accepted.admission))

    async def create_prepared(self, principal: Principal, idempotency: Idempotency | None, prepare: Prepare) -> Answer:
        """As `create`, of a request that depends on what the store holds.

        `prepare` makes it, by the id that it will have, in the transaction that admits it, and may change the
        conversation there, once it has locked it. Nothing of that remains if the request is refused.
        """
        await self._engine.provider()
        id = uuid7()

        async def prepared(conn: Connection) -> CompletionRequest:
            request = self._with_upstreams_name(await prepare(conn, id))
            self._check(principal, request)
            return request

        with counted_refusals(), self._engine.registry.place():
            accepted = await self._admissions.prepare_and_admit(id, principal, idempotency, prepared)
            generation = self._launched(id, principal, accepted)
        return await self._answer(principal, accepted, generation)

    def _head_start(self, provider: Provider, request: CompletionRequest) -> HeadStart | AbstractContextManager[None]:
        """Of requests that are known before they are admitted: they go on from nothing, and are new."""
        if not request.stands_alone or request.background:
            return nullcontext()
        return HeadStart(provider, self._provider_request(request, Admission("admitted")))

    def _launched(
        self, id: UUID, principal: Principal, accepted: Accepted, head_start: HeadStart | None = None
    ) -> Generation | None:
        """None for a request that has its completion already."""
        if accepted.admission.duplicate is not None:
            return None
        admitted = self._admitted(id, accepted, head_start)
        if head_start is not None:
            head_start.go()  # before the generation's own first steps: the first text waits for this alone
            return self._engine.launch(admitted, head_start)
        generation = self._engine.launch(admitted)
        _stop_if_held_back(generation, principal, admitted.request.body)
        return generation

    async def _answer(self, principal: Principal, accepted: Accepted, generation: Generation | None) -> Answer:
        """With the first event, or when it is time to answer without one."""
        if generation is None:
            assert accepted.admission.duplicate is not None
            return await self._again(principal, accepted.admission.duplicate)
        assert accepted.submission is not None
        if not accepted.submission.request.background:
            await generation.started(self._settings.peek_timeout)
        return Begun(generation, limits_of(accepted.admission))

    async def _again(self, principal: Principal, id: UUID) -> Answer:
        """What an earlier request has begun; one that runs here may yet fail before its first event."""
        if generation := self._engine.registry.get(id):
            await generation.started(self._settings.peek_timeout)
        source = await self.log(principal, id, 0)
        assert source is not None  # there is no end at position 0
        return Found(id, source, self._ends_by, replayed=True)

    def _with_upstreams_name(self, request: CompletionRequest) -> CompletionRequest:
        model = self._catalogue.upstream_name(request.model)
        return msgspec.structs.replace(request, body={**request.body, "model": model})

    def _check(self, principal: Principal, request: CompletionRequest) -> None:
        if principal.bound and (
            request.conversation_id is None or principal.conversation_id != request.conversation_id
        ):
            raise NotFound("There is no such conversation.")
        if request.background and not self._settings.runs_in_background:
            raise InvalidRequest("This home cannot run anything in the background.", param="background")
        held_back.check(principal, request.body, [msgspec.json.decode(message.content) for message in request.messages])

    def _admitted(self, id: UUID, accepted: Accepted, head_start: HeadStart | None = None) -> Admitted:
        submission, admission = accepted
        assert submission is not None
        request = submission.request
        bind(completion_id=str(id), model=request.model)
        return Admitted(
            id=id,
            request=head_start.request if head_start else self._provider_request(request, admission),
            on_disconnect=request.on_disconnect,
            request_id=self._request_id,
            account=Account(request.model, submission.asked, admission.reserved_input or 0, datetime.now(UTC)),
            ends_by=self._ends_by,
            log_keys=keys(),
            traceparent=traceparent(),
        )

    def _provider_request(self, request: CompletionRequest, admission: Admission) -> ProviderRequest:
        """With the history that the admission has found."""
        body = dict(request.body)
        if admission.system is not None:
            body.setdefault("system", msgspec.json.decode(admission.system))
        messages = [
            {"role": message.role, "content": msgspec.json.decode(message.content)}
            for message in [*history(admission), *request.messages]
        ]
        if request.lift_system:
            messages = lift_system(body, messages)
        body["messages"] = messages
        return ProviderRequest(body, request.version or self._settings.upstream_version, request.betas)

    async def get(self, principal: Principal, id: UUID) -> CompletionRow:
        """
        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        row = await self._row(principal, id)
        return await self._row(principal, id) if await self._interrupt_lost([row]) else row

    async def _row(self, principal: Principal, id: UUID) -> CompletionRow:
        async with self._pool.connection() as conn:
            row = await repository.get(conn, principal.tenant, id, self._settings.lease)
        if row is None or not _within_bounds(principal, id, row.conversation_id):
            raise _no_completion()
        return row

    async def contents(self, principal: Principal, ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """The answers of those that the caller has, as JSON arrays of content blocks."""
        async with self._pool.connection() as conn:
            return await repository.contents(conn, principal.tenant, ids)

    async def page(self, principal: Principal, where: Filter, cursor: UUID | None, limit: int) -> list[CompletionRow]:
        """The newest first; `limit` of them at the most, older than `cursor`."""
        rows = await self._rows(principal, where, cursor, limit)
        return await self._rows(principal, where, cursor, limit) if await self._interrupt_lost(rows) else rows

    async def _rows(self, principal: Principal, where: Filter, cursor: UUID | None, limit: int) -> list[CompletionRow]:
        async with self._pool.connection() as conn:
            return await repository.list_page(conn, principal.tenant, where, cursor, limit, self._settings.lease)

    async def _interrupt_lost(self, rows: Sequence[CompletionRow]) -> bool:
        """End what lost instances left behind among `rows`; whether there was any."""
        lost = {row.instance_id for row in rows if row.lost}
        for instance in lost:
            await self._engine.interruption.of_dead(instance)
        return bool(lost)

    async def log(self, principal: Principal, id: UUID, after: int) -> AbstractContextManager[Log] | None:
        """The log past position `after`, wherever it is; None if the terminal event was already there.

        Raises:
            NotFound: there is no such completion.
            InvalidRequest: `after` lies beyond its end.
            Gone: it has ended and its log is not kept any more.
        """
        async with self._pool.connection() as conn:
            row = await repository.stream_row(conn, principal.tenant, id)
        if row is None or not _within_bounds(principal, id, row.conversation_id):
            raise _no_completion()
        bind(completion_id=str(id), resumed=True)
        link(row.traceparent)
        if after > self._last_possible(id, row):
            raise InvalidRequest("The position lies beyond the end of the stream.", code="position_beyond_end")
        found = self._engine.source(id) if row.status == Status.STREAMING else _finished(id, row, after)
        if found is not None:
            meter.count(Metric.RESUMES)
        return found

    def _last_possible(self, id: UUID, row: StreamRow) -> int:
        if row.end_seq is not None:
            return row.end_seq
        if generation := self._engine.registry.get(id):
            return generation.log.last_seq
        return (row.recorded_upto or 0) + LOST_AT_MOST

    async def cancel(self, principal: Principal, id: UUID) -> CompletionRow:
        """Stop it, wherever it runs; what has ended stays as it is."""
        row = await self.get(principal, id)
        if row.status != Status.STREAMING:
            return row
        async with self._pool.connection() as conn:
            await repository.request_cancel(conn, principal.tenant, id)
        if row.waits and self._hand_over is not None:
            await self._hand_over.end(id, Cancelled("The completion was cancelled."))
        elif generation := self._engine.registry.get(id):
            generation.stop(Cancelled("The completion was cancelled."))
            with suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_WAIT):
                    await generation.log.wait_ended()
        return await self.get(principal, id)

    async def delete(self, principal: Principal, id: UUID) -> None:
        """
        Raises:
            NotFound: there is no such completion.
            Conflict: it is still running.
        """
        await self.get(principal, id)
        async with self._pool.connection() as conn:
            if not await repository.delete(conn, principal.tenant, id):
                raise Conflict("The completion is still running: cancel it first.", code="completion_running")


def _stop_if_held_back(generation: Generation, principal: Principal, body: dict[str, Any]) -> None:
    """Before the upstream is asked: only now is it known what the conversation holds, which other keys may have put."""
    try:
        held_back.check(principal, body, body["messages"])
    except PermissionDenied as exc:
        generation.stop(exc)


async def _completions(request: Request) -> Completions:
    """One dependency for all that it is made of: each costs the request its share of FastAPI's resolving."""
    state = request.state
    return Completions(
        state.settings,
        state.catalogue,
        state.pool,
        state.engine,
        state.admissions,
        state.hand_over,
        state.request_id,
        # When the time is over that the home has for this request; elsewhere there is no such limit.
        getattr(state, "ends_by", None),
    )


CompletionsDep = Annotated[Completions, Depends(_completions)]


def _within_bounds(principal: Principal, id: UUID, conversation: UUID | None) -> bool:
    """Whether a browser token is for this completion; keys are for all of their tenant's."""
    return (
        not principal.bound
        or id == principal.completion_id
        or (conversation is not None and conversation == principal.conversation_id)
    )


def _no_completion() -> AppError:
    return NotFound("There is no such completion.")


def _finished(id: UUID, row: StreamRow, after: int) -> AbstractContextManager[Log] | None:
    assert row.end_seq is not None
    if after == row.end_seq:
        return None
    if row.log is None:
        raise Gone("The stream of this completion is not kept any more.", code="stream_gone")
    return nullcontext(StoredLog(_stored(id, row.log, row.end_seq), row.end_seq))


def _stored(id: UUID, log: bytes, end_seq: int) -> Iterator[Event]:
    """The reader has had its 200 before all of it is seen: what cannot be read ends with an error event."""
    try:
        yield from decompress(log, end_seq)
    except (msgspec.MsgspecError, zlib.error):
        _log.exception("the log of %s cannot be read", id)
        yield error_end(end_seq, AppError("The stream cannot be read."), None)
