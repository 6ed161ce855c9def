"""The native API of completions."""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import AwareDatetime, BeforeValidator, ValidationError
from starlette.responses import Response

from app.completions.body import json_object
from app.completions.openai_stream import response_stream
from app.completions.repository import Filter
from app.completions.responses import event_stream, headers
from app.completions.schemas import CreateCompletion, completion_request, full, summary
from app.completions.service import CompletionsDep
from app.config import Settings
from app.dependencies import POSITION, IdempotencyDep, PageDep, Requires, SettingsDep, page_of, stream_position
from app.domain.completion import Status
from app.domain.errors import NotFound
from app.domain.principal import Principal, Scope
from app.error_handlers import validation_error
from app.observability import bind
from app.wire import limit_headers
from app.wire.anthropic_messages import MESSAGES
from app.wire.openai_chat import OpenAIChatEncoder
from app.wire.plain import PLAIN
from app.wire.sse import Encoder
from app.wire.ui_message import UiMessageEncoder

router = APIRouter(prefix="/v1/completions", tags=["completions"])

Caller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]
BoundCaller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS, allow_bound=True))]
CompletionId = Annotated[str, Path(alias="completion_id", json_schema_extra={"format": "uuid"})]


def _no_number(value: Any) -> Any:
    """A number would be taken for seconds or for milliseconds, by its size."""
    try:
        float(value)
    except ValueError:
        return value
    raise ValueError("must be a date and a time with an offset (RFC 3339)")


Moment = Annotated[AwareDatetime, BeforeValidator(_no_number)]

# Those that need no more of a completion than its id.
_ENCODERS: dict[str, Callable[[UUID, Settings], Encoder]] = {
    "plain": lambda id, settings: PLAIN,
    "anthropic_messages": lambda id, settings: MESSAGES,
    "ui_message": lambda id, settings: UiMessageEncoder(id),
    "openai_chat": lambda id, settings: OpenAIChatEncoder(id, reasoning=settings.reasoning_content),
}


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


@router.post("", summary="Create a completion")
async def create(
    request: Request,
    caller: BoundCaller,
    completions: CompletionsDep,
    settings: SettingsDep,
    again: IdempotencyDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Streams the plain dialect, or answers the completion in one piece with `stream: false`.

    Sent again with the same `Idempotency-Key` and a `Last-Event-ID`, it reads on behind that position.
    """
    position = stream_position(last_event_id)
    decoded, raw = await json_object(request)
    created = _validated(decoded)
    asked = msgspec.structs.replace(completion_request(created, raw), idempotency=again)
    answer = await completions.create(caller, asked)
    answer_headers = headers(answer, settings, limit_headers.native)
    if created.stream:
        after = position if answer.replayed else 0
        return event_stream(answer.reading(), PLAIN, settings, after=after, headers=answer_headers)
    if (fold := await answer.whole(request.receive)) is None:
        return Response()
    row = await completions.get(caller, answer.id)
    whole = msgspec.structs.replace(row, content=fold.content())  # also where it is not stored
    return _json(full(whole), headers=answer_headers)


def _validated(decoded: dict[str, Any]) -> CreateCompletion:
    try:
        return CreateCompletion.model_validate(decoded)
    except ValidationError as exc:
        raise validation_error(exc.errors()) from None


@router.get("", summary="List completions")
async def list_completions(
    caller: Caller,
    completions: CompletionsDep,
    page: PageDep,
    status: Status | None = None,
    conversation_id: UUID | None = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
) -> Response:
    """The newest first, without their contents."""
    where = Filter(status, conversation_id, created_after, created_before)
    rows = await completions.page(caller, where, page.cursor, page.limit + 1)
    return _json(page_of([summary(row) for row in rows], page))


@router.get("/{completion_id}", summary="Read a completion")
async def read(id: CompletionId, caller: BoundCaller, completions: CompletionsDep) -> Response:
    """Its state and, once it has ended, its contents."""
    return _json(full(await completions.get(caller, _id(id))))


@router.get("/{completion_id}/stream", summary="Read a completion's stream, from any position")
async def stream(
    id: CompletionId,
    caller: BoundCaller,
    completions: CompletionsDep,
    settings: SettingsDep,
    last_event_id: Annotated[
        str | None, Header(description="The position of the last event that you have.", json_schema_extra=POSITION)
    ] = None,
    after: Annotated[
        str | None,
        Query(description="As `Last-Event-ID`, for clients that cannot set headers.", json_schema_extra=POSITION),
    ] = None,
    dialect: Literal["plain", "anthropic_messages", "openai_chat", "openai_responses", "ui_message"] = "plain",
) -> Response:
    """Everything past the position, then what comes live. 204 when the end was already delivered."""
    told, asked = stream_position(last_event_id), stream_position(after)
    position = told if last_event_id else asked
    completion_id = _id(id)
    bind(dialect=dialect)
    source = await completions.log(caller, completion_id, position)
    if source is None:
        return Response(status_code=204)
    if dialect == "openai_responses":
        row = await completions.get(caller, completion_id)
        return response_stream(row, source, settings, after=position)
    return event_stream(source, _ENCODERS[dialect](completion_id, settings), settings, after=position)


@router.post("/{completion_id}/cancel", summary="Stop a completion")
async def cancel(id: CompletionId, caller: BoundCaller, completions: CompletionsDep) -> Response:
    """It ends within two seconds wherever it runs; what has ended stays as it is."""
    return _json(full(await completions.cancel(caller, _id(id))))


@router.delete("/{completion_id}", status_code=204, summary="Delete a completion")
async def delete(id: CompletionId, caller: Caller, completions: CompletionsDep) -> Response:
    """With its stream; what a conversation has of it stays. 409 while it runs."""
    await completions.delete(caller, _id(id))
    return Response(status_code=204)


def _id(value: str) -> UUID:
    """What is no id names no completion."""
    try:
        return UUID(value)
    except ValueError:
        raise NotFound("There is no such completion.") from None
