"""Asking the database to decide on requests: one with all that it may go on from, or several that stand alone."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from app.completions.estimate import Estimate
from app.completions.repository import ADMIT, ADMIT_ALONE, Admission, Connection
from app.domain.completion import CompletionRequest
from app.domain.ids import uuid7
from app.domain.principal import Principal
from app.prices import Asked, Rate

_ADMISSIONS: Final = msgspec.json.Decoder(list[Admission])


class Submission(msgspec.Struct, frozen=True):
    """All that is decided on. `lease` is in seconds, `max_history` in bytes; `stored` is the request as it is kept."""

    id: UUID
    principal: Principal
    instance: UUID
    home: str
    lease: float
    max_history: int
    request: CompletionRequest
    stored: bytes
    estimate: Estimate
    asked: Asked
    rates: list[Rate]
    # Kept beside what the price depends on, for the readers on other instances.
    traceparent: str | None = None

    @property
    def stands_alone(self) -> bool:
        return self.request.stands_alone


async def admit(conn: Connection, submission: Submission) -> Admission:
    """Decide on a request and insert it, in one call and one transaction."""
    async with conn.cursor(row_factory=class_row(Admission)) as cursor:
        await cursor.execute(ADMIT, _of_request(submission.request) | _of_caller(submission) | _of_price(submission))
        admission = await cursor.fetchone()
    assert admission is not None
    return admission


async def admit_alone(conn: Connection, submissions: Sequence[Submission]) -> list[Admission]:
    """The same for those of one instance that stand alone. One that cannot be stored refuses them all."""
    first = submissions[0]
    # A document costs a tenth of what its values cost as parameters.
    rest = {
        "instance": first.instance,
        "home": first.home,
        "lease": timedelta(seconds=first.lease),
        "each": [_each(submission) for submission in submissions],
    }
    parameters = {
        "requests": [submission.stored for submission in submissions],
        "rest": msgspec.json.encode(rest).decode(),
    }
    cursor = await conn.execute(ADMIT_ALONE, parameters)
    row = await cursor.fetchone()
    assert row is not None
    return _ADMISSIONS.decode(row[0])


def _each(submission: Submission) -> dict[str, Any]:
    request = submission.request
    return {
        "id": submission.id,
        "tenant": submission.principal.tenant,
        "key_id": submission.principal.key_id,
        "model": request.model,
        "store": request.store,
        "background": request.background,
        "on_disconnect": request.on_disconnect,
        "metadata": request.metadata,
        "asked": _asked(submission),
        "input_tokens": submission.estimate.input,
        "output_tokens": submission.estimate.output,
        "rates": submission.rates,
        # Only so that a NUL in them is refused, as it is where they are stored.
        "roles": [message.role for message in request.turn],
    }


def _asked(submission: Submission) -> dict[str, Any]:
    trace = {"traceparent": submission.traceparent} if submission.traceparent is not None else {}
    return {**msgspec.to_builtins(submission.asked), **trace}


def _of_request(request: CompletionRequest) -> dict[str, object]:
    again = request.idempotency
    return {
        "model": request.model,
        "store": request.store,
        "on_disconnect": str(request.on_disconnect),
        "metadata": Jsonb(request.metadata),
        "conversation": request.conversation_id,
        "message_ids": [uuid7() for _ in request.turn],
        "roles": [message.role for message in request.turn],
        "contents": [bytes(message.content) for message in request.turn],
        "previous": request.previous_id,
        "background": request.background,
        "idempotency_key": again.key if again is not None else None,
        "request_sha256": again.request_sha256 if again is not None else None,
    }


def _of_caller(submission: Submission) -> dict[str, object]:
    return {
        "id": submission.id,
        "tenant": submission.principal.tenant,
        "key_id": submission.principal.key_id,
        "instance": submission.instance,
        "home": submission.home,
        "lease": timedelta(seconds=submission.lease),
        "max_history": submission.max_history,
        "request": submission.stored,
    }


def _of_price(submission: Submission) -> dict[str, object]:
    return {
        "asked": Jsonb(_asked(submission), dumps=msgspec.json.encode),
        "message_tokens": submission.estimate.turn,
        "input_tokens": submission.estimate.input,
        "output_tokens": submission.estimate.output,
        "rates": Jsonb(submission.rates, dumps=msgspec.json.encode),
    }
