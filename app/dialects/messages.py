"""Anthropic's Messages API, so that its clients need nothing but another base URL."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from app.completions import held_back
from app.completions.body import json_object
from app.completions.responses import event_stream, headers
from app.completions.schemas import MAX_TOKENS, MODEL_NAME
from app.completions.service import CompletionsDep
from app.dependencies import CatalogueDep, EngineDep, IdempotencyDep, Requires, SettingsDep
from app.domain.completion import CompletionRequest, NewMessage, OnDisconnect
from app.domain.errors import InvalidRequest
from app.domain.principal import Principal, Scope
from app.providers.base import ProviderRequest
from app.wire import limit_headers
from app.wire.anthropic_messages import MESSAGES

router = APIRouter(prefix="/v1/messages", tags=["Anthropic Messages"])

Caller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]
Version = Annotated[str | None, Header(alias="anthropic-version")]
Betas = Annotated[str | None, Header(alias="anthropic-beta")]


class MessagesRequest(msgspec.Struct, frozen=True):
    """What has to be right before the upstream is asked; it judges all the rest itself."""

    model: Annotated[str, msgspec.Meta(max_length=200, pattern=MODEL_NAME)]
    messages: Annotated[list[NewMessage], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)] | None = None
    stream: bool = False
    thread: Any = None


@router.post("", summary="Create a message")
async def create(
    request: Request,
    caller: Caller,
    completions: CompletionsDep,
    settings: SettingsDep,
    version: Version = None,
    betas: Betas = None,
    on_disconnect: Annotated[OnDisconnect, Header(alias="x-on-disconnect")] = OnDisconnect.CONTINUE,
    store: Annotated[bool, Header(alias="x-store")] = True,
    again: IdempotencyDep = None,
) -> Response:
    """Unknown fields go to the upstream. `x-on-disconnect` and `x-store` are the native API's fields of those names."""
    body, raw = await json_object(request)
    asked = msgspec.structs.replace(
        completion_request(body, raw),
        store=store,
        on_disconnect=on_disconnect,
        version=version,
        betas=betas,
        idempotency=again,
    )
    answer = await completions.create(caller, asked)
    answer_headers = headers(answer, settings, limit_headers.anthropic)
    if body.get("stream"):
        return event_stream(answer.reading(), MESSAGES, settings, headers=answer_headers)
    if (fold := await answer.whole(request.receive)) is None:
        return Response()
    return Response(fold.answer(), headers=answer_headers, media_type="application/json")


@router.post("/count_tokens", summary="Count the tokens of a message")
async def count_tokens(
    request: Request,
    caller: Caller,
    engine: EngineDep,
    catalogue: CatalogueDep,
    settings: SettingsDep,
    version: Version = None,
    betas: Betas = None,
) -> Response:
    """Asked of the upstream as it is; nothing is recorded."""
    body, raw = await json_object(request)
    body["model"] = catalogue.upstream_name(_checked(raw).model)
    held_back.check(caller, body, body["messages"])
    provider = await engine.provider()
    counted = await provider.count_tokens(ProviderRequest(body, version or settings.upstream_version, betas))
    return Response(counted, media_type="application/json")


def completion_request(body: dict[str, Any], raw: bytes) -> CompletionRequest:
    """A request for a message, in the one form that all dialects share. `raw` is the JSON that `body` was read from.

    Raises:
        InvalidRequest: it cannot be asked of the upstream.
    """
    message = _checked(raw)
    if message.max_tokens is None:
        raise InvalidRequest("max_tokens: Field required", param="max_tokens")
    return CompletionRequest(body=_rest(body), messages=message.messages)


def _checked(raw: bytes) -> MessagesRequest:
    try:
        message = msgspec.json.decode(raw, type=MessagesRequest)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc)) from None
    if message.thread is not None:
        # The upstream would keep it under our key, which all tenants share. By this code, the SDKs' tool runners know
        # to send the whole conversation instead.
        raise InvalidRequest(
            "thread: not supported; send the whole conversation.", code="thread_unsupported_request", param="thread"
        )
    return message


def _rest(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in ("messages", "stream")}
