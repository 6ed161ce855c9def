"""Getting a request admitted: in one call of the database, again where a lost instance stood in the way."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from app.completions import held_back, repository
from app.completions.admission_queue import AdmissionQueue
from app.completions.estimate import Estimate
from app.completions.refusals import refusal
from app.completions.repository import Admission, Connection
from app.completions.submission import Submission, admit
from app.config import Settings
from app.db.idempotency import claim
from app.db.pool import Pool
from app.domain.completion import CompletionRequest, Idempotency
from app.domain.errors import Unavailable, Unprocessable
from app.domain.principal import Principal
from app.observability import traced, traceparent
from app.prices import Asked
from app.streaming.engine import Engine

# A lost owner is found out at most once for an instance and once for a conversation, and an idempotency key may be
# freed while it is looked at; then something else is wrong.
_TRIES: Final = 3

Prepare = Callable[[Connection], Awaitable[CompletionRequest]]


class Accepted(NamedTuple):
    """`admission.duplicate` is the completion that was meant, where the request is not the first of its key.

    Then there may be no submission: what it would be made from has changed since.
    """

    submission: Submission | None
    admission: Admission


Keep = Callable[[Connection, Accepted], Awaitable[None]]


class Admissions:
    def __init__(self, settings: Settings, pool: Pool, engine: Engine, queue: AdmissionQueue) -> None:
        self._settings = settings
        self._queue = queue
        self._pool = pool
        self._engine = engine

    @traced("admit")
    async def admit(self, id: UUID, principal: Principal, request: CompletionRequest) -> Accepted:
        """
        Raises:
            AppError: there is something against it.
        """

        async def attempt(instance: UUID) -> Accepted:
            submission = self._submission(id, principal, instance, request)
            return Accepted(submission, await self._queue.admit(submission))

        return await self._until_decided(attempt)

    @traced("admit")
    async def prepare_and_admit(
        self, id: UUID, principal: Principal, idempotency: Idempotency | None, prepare: Prepare
    ) -> Accepted:
        """As `admit`; what `prepare` does in the same transaction is undone if the request is not admitted."""

        async def attempt(instance: UUID) -> Accepted:
            async with self._pool.connection() as conn:
                # Everyone locks the instance first, then the idempotency key, then the conversation.
                await repository.keep_alive(conn, instance, self._settings.home, self._settings.lease)
                async with conn.transaction():
                    await repository.hold_instance(conn, instance)
                    earlier = await claim(conn, principal.tenant, idempotency, id)
                    if earlier is not None:
                        raise _Undo(Accepted(None, Admission("duplicate", duplicate=earlier)))
                    submission = self._submission(id, principal, instance, await prepare(conn))
                    accepted = Accepted(submission, await admit(conn, submission))
                    if accepted.admission.outcome != "admitted":
                        raise _Undo(accepted)
            return accepted

        return await self._until_decided(attempt)

    @traced("admit")
    async def admit_for_another(
        self, id: UUID, principal: Principal, request: CompletionRequest, keep: Keep
    ) -> Accepted:
        """As `admit`, of what an instance shall produce that is not known yet: `app/streaming/hand_over.py`.

        `keep` writes down in the same transaction what that has to know.
        """

        async def attempt(_: UUID) -> Accepted:
            lease = self._settings.background_patience
            submission = self._submission(id, principal, id, request, lease=lease)
            async with self._pool.connection() as conn, conn.transaction():
                accepted = Accepted(submission, await admit(conn, submission))
                if accepted.admission.outcome == "admitted":
                    await keep(conn, accepted)
            return accepted

        return await self._until_decided(attempt)

    async def _until_decided(self, attempt: Callable[[UUID], Awaitable[Accepted]]) -> Accepted:
        for _ in range(_TRIES):
            instance = self._engine.instance.id
            try:
                accepted = await attempt(instance)
            except _Undo as undo:
                accepted = undo.accepted
            except psycopg.DataError:
                raise Unprocessable("The request holds a character that cannot be stored, such as NUL.") from None
            if accepted.admission.outcome in ("admitted", "duplicate"):
                return accepted
            await self._cure(accepted.admission, instance)
        raise Unavailable("The request could not be admitted. Try again.", retry_after=1)

    def _submission(
        self, id: UUID, principal: Principal, instance: UUID, request: CompletionRequest, lease: float | None = None
    ) -> Submission:
        stored = msgspec.json.encode({**held_back.without_tokens(request.body), "messages": request.messages})
        asked = Asked.of(request.body, stored, held_back.server_tools(request.body))
        return Submission(
            id=id,
            principal=principal,
            instance=instance,
            home=self._settings.home,
            lease=lease or self._settings.lease,
            max_history=self._settings.max_history,
            request=request,
            stored=stored,
            estimate=Estimate.of(request),
            asked=asked,
            rates=self._engine.prices.rates(request.model, asked),
            traceparent=traceparent(),
        )

    async def _cure(self, admission: Admission, instance: UUID) -> None:
        """Do what lets the next try of `instance` succeed.

        Raises:
            AppError: no other try would.
        """
        if admission.outcome == "instance_dead":
            self._engine.control.renew_instance(instance)
        elif admission.busy_alive is False and admission.busy_instance is not None:
            await self._engine.interruption.of_dead(admission.busy_instance)
        elif (error := refusal(admission)) is not None:
            raise error


class _Undo(Exception):
    """Rolls back the transaction of a request that was not admitted."""

    def __init__(self, accepted: Accepted) -> None:
        self.accepted = accepted
