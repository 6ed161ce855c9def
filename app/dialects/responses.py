"""OpenAI's Responses API, so that its clients need nothing but another base URL."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from msgspec import Raw
from starlette.responses import Response

from app.completions.body import json_object
from app.completions.history import StoredRequest
from app.completions.openai_stream import response_stream, stored_head
from app.completions.repository import CompletionRow
from app.completions.responses import event_stream, headers
from app.completions.service import Completions, CompletionsDep
from app.dependencies import POSITION, CatalogueDep, IdempotencyDep, Requires, SettingsDep, stream_position
from app.dialects.responses_input import invalid
from app.dialects.responses_request import (
    CreateResponse,
    completion_request,
    ignored_fields,
    ignored_header,
    read,
    response_uuid,
)
from app.domain.completion import CompletionRequest, NewMessage, OnDisconnect, Status
from app.domain.errors import InvalidRequest, NotFound
from app.domain.principal import Principal, Scope
from app.wire import limit_headers
from app.wire.openai_input_items import input_items
from app.wire.openai_items import Item, completion_of
from app.wire.openai_output import output_items
from app.wire.openai_response import (
    IN_PROGRESS,
    QUEUED,
    Ending,
    Head,
    answered,
    response,
    response_id,
    stored,
    unfinished,
)
from app.wire.openai_responses import OpenAIResponsesEncoder

router = APIRouter(prefix="/v1/responses", tags=["OpenAI Responses"])

Caller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]
BoundCaller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS, allow_bound=True))]
ResponseId = Annotated[str, Path(alias="response_id", description="`resp_...`, or the id of any completion.")]


@router.post("", summary="Create a response")
async def create(
    request: Request,
    caller: Caller,
    completions: CompletionsDep,
    catalogue: CatalogueDep,
    settings: SettingsDep,
    again: IdempotencyDep,
    on_disconnect: Annotated[OnDisconnect, Header(alias="x-on-disconnect")] = OnDisconnect.CONTINUE,
) -> Response:
    """Streams it, waits for it, or with `background: true` answers at once and lets it be read later.

    `x-on-disconnect` is the native API's field of that name.
    """
    body, _ = await json_object(request)
    asked = await _with_references(read(body), caller, completions)
    max_tokens = catalogue.max_tokens(asked.model) or settings.default_max_tokens
    wanted, ignored = completion_request(asked, settings, max_tokens=max_tokens)
    wanted = msgspec.structs.replace(wanted, idempotency=again, on_disconnect=on_disconnect)
    answer = await completions.create(caller, wanted)
    head = _head_of(answer.id, wanted)
    answer_headers = headers(answer, settings, limit_headers.openai) | ignored_header([*ignored, *ignored_fields(body)])
    if asked.stream:
        encoder = OpenAIResponsesEncoder(head)
        opening = encoder.begin()
        return event_stream(answer.reading(), encoder, settings, headers=answer_headers, opening=opening)
    if wanted.background and answer.replayed:
        return _json(_object(await completions.get(caller, answer.id)), answer_headers)
    if wanted.background:
        return _json(response(head, Ending(QUEUED)), answer_headers)
    if (fold := await answer.whole(request.receive)) is None:
        return Response()
    return _json(answered(head, fold), answer_headers)


@router.get("/{response_id}", summary="Read a response, or its stream from any position")
async def retrieve(
    id: ResponseId,
    caller: BoundCaller,
    completions: CompletionsDep,
    settings: SettingsDep,
    stream: Annotated[bool, Query(description="Answer with server-sent events.")] = False,
    starting_after: Annotated[int, Query(ge=0, description="The last `sequence_number` that you have.")] | None = None,
    last_event_id: Annotated[
        str | None, Header(description="The `id` of the last frame that you have.", json_schema_extra=POSITION)
    ] = None,
) -> Response:
    """With `stream=true` everything past the position, then what comes live; for as long as streams are kept."""
    told = stream_position(last_event_id)
    row = await _row(id, caller, completions)
    if not stream:
        return _json(_object(row))
    position = told if starting_after is None else 0
    source = await completions.log(caller, row.id, position)
    if source is None:
        return Response(status_code=204)
    frame = -1 if starting_after is None else starting_after
    return response_stream(row, source, settings, after=position, starting_after=frame)


@router.post("/{response_id}/cancel", summary="Stop a response")
async def cancel(id: ResponseId, caller: BoundCaller, completions: CompletionsDep) -> Response:
    """It ends within two seconds wherever it runs; what has ended stays as it is."""
    row = await _row(id, caller, completions)
    return _json(_object(await completions.cancel(caller, row.id)))


@router.delete("/{response_id}", summary="Delete a response")
async def delete(id: ResponseId, caller: Caller, completions: CompletionsDep) -> Response:
    """What goes on from it cannot be gone on from any more; 409 while it runs."""
    row = await _row(id, caller, completions)
    await completions.delete(caller, row.id)
    return _json({"id": response_id(row.id), "object": "response", "deleted": True})


@router.get("/{response_id}/input_items", summary="List what a response was asked")
async def list_input_items(
    id: ResponseId,
    caller: BoundCaller,
    completions: CompletionsDep,
    settings: SettingsDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Items at the most.")] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(description="The id of the last item you have.")] = None,
) -> Response:
    """Its own input, without what came before it in a chain or a conversation. A page may end early, for its size."""
    row = await _row(id, caller, completions)
    items = input_items(row.id, _messages(row))
    if order == "desc":
        items.reverse()
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise invalid("after", "there is no such item")
        items = items[ids.index(after) + 1 :]
    return _json(_page(items, limit, settings.max_page_bytes))


# -- rows


async def _row(id: str, caller: Principal, completions: Completions) -> CompletionRow:
    """
    Raises:
        NotFound: there is none, it is another tenant's, or it has ended and was not to be stored.
    """
    completion = response_uuid(id)
    if completion is None:
        raise _no_response()
    try:
        row = await completions.get(caller, completion)
    except NotFound:
        raise _no_response() from None
    if row.status != Status.STREAMING and not row.store:
        raise NotFound("This response was not stored (`store: false`).", code="response_not_stored", param="id")
    return row


def _no_response() -> NotFound:
    return NotFound("There is no such response.", param="id")


def _object(row: CompletionRow) -> dict[str, Any]:
    head = stored_head(row)
    if row.status == Status.STREAMING:
        return response(head, Ending(QUEUED if row.waits else IN_PROGRESS))
    if row.status == Status.COMPLETED:
        return stored(head, row.stop_reason, row.content, row.usage)
    return unfinished(head, row.error, row.content, row.usage)


def _head_of(id: UUID, request: CompletionRequest) -> Head:
    return Head(
        id=id,
        model=request.model,
        request=request.body,
        metadata=request.metadata,
        previous_id=request.previous_id,
        conversation_id=request.conversation_id,
        store=request.store,
        background=request.background,
    )


def _messages(row: CompletionRow) -> list[NewMessage]:
    return msgspec.json.decode(row.request, type=StoredRequest).messages if row.request is not None else []


# -- items that stand for others

_MOST_REFERENCES: Final = 500


async def _with_references(asked: CreateResponse, caller: Principal, completions: Completions) -> CreateResponse:
    """Put the items of earlier responses in the place of references to them.

    Raises:
        InvalidRequest: a reference leads nowhere, or there are more than a history has.
    """
    references = {index: id for index, item in enumerate(asked.input) if (id := _referred(item)) is not None}
    if not references:
        return asked
    if len(references) > _MOST_REFERENCES or len(set(references.values())) < len(references):
        # Each may stand for much more than was sent.
        raise InvalidRequest("Too many references, or one item twice.", code="too_many_references", param="input")
    ids = {completion for id in references.values() if (completion := completion_of(id)) is not None}
    contents = await completions.contents(caller, sorted(ids))
    known = {item["id"]: item for id, content in contents.items() for item in _output(id, content)}
    items = list(asked.input)
    for index, id in references.items():
        if id not in known:
            raise InvalidRequest("There is no such item.", code="item_not_found", param=f"input[{index}].id")
        items[index] = known[id]
    return msgspec.structs.replace(asked, input=items)


def _referred(item: Any) -> str | None:
    if isinstance(item, dict) and item.get("type") == "item_reference":
        return str(item.get("id"))
    return None


def _output(id: UUID, content: bytes) -> Sequence[Item]:
    blocks = msgspec.json.decode(content, type=list[dict[str, Raw]])
    items = msgspec.json.encode(output_items(id, blocks))
    return msgspec.json.decode(items, type=list[Item])


# -- answers


def _page(items: list[Item], limit: int, max_bytes: int) -> dict[str, Any]:
    """Up to `limit` items and up to `max_bytes`, but one at the least."""
    page: list[Item] = []
    size = 0
    for item in items[:limit]:
        size += len(msgspec.json.encode(item))
        if page and size > max_bytes:
            break
        page.append(item)
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(page) < len(items),
    }


def _json(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")
