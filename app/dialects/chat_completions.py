"""OpenAI's Chat Completions, so that its clients need nothing but another base URL."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from app.completions.body import json_object
from app.completions.responses import event_stream, headers
from app.completions.service import CompletionsDep
from app.dependencies import CatalogueDep, IdempotencyDep, Requires, SettingsDep
from app.dialects.chat_request import mapped, read
from app.domain.completion import CompletionRequest, OnDisconnect
from app.domain.principal import Principal, Scope
from app.wire import limit_headers
from app.wire.openai_chat import OpenAIChatEncoder
from app.wire.openai_chat_answer import chat_completion

router = APIRouter(prefix="/v1/chat/completions", tags=["OpenAI Chat Completions"])

Caller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]


@router.post("", summary="Create a chat completion")
async def create(
    request: Request,
    caller: Caller,
    completions: CompletionsDep,
    catalogue: CatalogueDep,
    settings: SettingsDep,
    on_disconnect: Annotated[OnDisconnect, Header(alias="x-on-disconnect")] = OnDisconnect.CONTINUE,
    store: Annotated[bool, Header(alias="x-store")] = True,
    again: IdempotencyDep = None,
) -> Response:
    """Streams with `stream: true`. Parameters that have no effect here are named in the answer's `x-ignored-params`.

    `x-on-disconnect` and `x-store` are the native API's fields of those names.
    """
    sent, raw = await json_object(request)
    chat = read(raw)
    told = mapped(
        chat,
        sent,
        version=settings.upstream_version,
        max_tokens=catalogue.max_tokens(chat.model) or settings.default_max_tokens,
        fetches_urls=settings.upstream != "bedrock",
    )
    answer = await completions.create(
        caller,
        CompletionRequest(
            body=told.body, messages=told.messages, store=store, on_disconnect=on_disconnect, idempotency=again
        ),
    )
    answer_headers = headers(answer, settings, limit_headers.openai)
    if told.ignored:
        answer_headers["x-ignored-params"] = ", ".join(told.ignored)
    reasoning = settings.reasoning_content
    if chat.stream:
        encoder = OpenAIChatEncoder(answer.id, include_usage=chat.include_usage, reasoning=reasoning)
        return event_stream(answer.reading(), encoder, settings, headers=answer_headers)
    if (fold := await answer.whole(request.receive)) is None:
        return Response()
    body = chat_completion(answer.id, fold, reasoning=reasoning)
    return Response(body, headers=answer_headers, media_type="application/json")
