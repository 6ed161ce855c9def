"""From a batch's body to requests, in the one form that all dialects share; refused whole if one of them is."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder
from pydantic import ValidationError

from app.batches.schemas import NewBatch, NewItem
from app.catalogue import Catalogue
from app.completions import held_back, schemas
from app.completions.body import object_of
from app.completions.schemas import CreateCompletion
from app.config import Settings
from app.conversations.bodies import decode
from app.dialects import chat_request, messages
from app.domain.completion import CompletionRequest
from app.domain.errors import AppError, InvalidRequest, PermissionDenied, Unprocessable
from app.domain.principal import Principal
from app.error_handlers import validation_error

_DECODER: Final = Decoder(NewBatch)
_LONGEST: Final = timedelta(days=90)
# What a batch decides for all of its items.
_THE_BATCHS: Final = ("stream", "store", "on_disconnect", "conversation_id")


def new_batch(raw: bytes) -> tuple[NewBatch, list[NewItem]]:
    """
    Raises:
        InvalidRequest: it is no JSON.
        Unprocessable: it has another shape, no items, two of one name, or too little or too much time.
    """
    object_of(raw, "The body")
    new = decode(raw, _DECODER)
    if isinstance(new.items, UnsetType) == isinstance(new.requests, UnsetType):
        raise Unprocessable("items: Field required", param="items")
    items = new.requests if isinstance(new.items, UnsetType) else new.items
    assert not isinstance(items, UnsetType)
    named: set[str] = set()
    for at, item in enumerate(items):
        if item.custom_id in named:
            raise Unprocessable(f"items[{at}].custom_id: Another item is called so", param=f"items[{at}].custom_id")
        named.add(item.custom_id)
    if new.deadline is not None and not timedelta() < new.deadline - datetime.now(UTC) < _LONGEST:
        raise Unprocessable("deadline: Must be in the future, and within 90 days", param="deadline")
    if len(msgspec.json.encode(new.metadata)) > schemas.MAX_METADATA:
        raise Unprocessable(f"metadata: Larger than {schemas.MAX_METADATA} bytes", param="metadata")
    return new, items


class Forms:
    """Reads items for one caller."""

    def __init__(self, principal: Principal, settings: Settings, catalogue: Catalogue) -> None:
        self._principal = principal
        self._settings = settings
        self._catalogue = catalogue

    def request(self, item: NewItem, at: int) -> CompletionRequest:
        """
        Raises:
            Unprocessable: it is no request that could be asked of the upstream; the error names the item.
            PermissionDenied: the caller's key may not use something in it.
        """
        place = f"items[{at}]"
        try:
            request = self._read(item)
            self._catalogue.upstream_name(request.model)
            _check_tokens(request.body)
            contents = [msgspec.json.decode(message.content) for message in request.messages]
            held_back.check(self._principal, request.body, contents)
        except PermissionDenied as exc:
            raise PermissionDenied(f"{place}: {exc.message}", code=exc.code, param=place) from None
        except AppError as exc:
            raise Unprocessable(f"{place}: {exc.message}", param=place) from None
        return request

    def _read(self, item: NewItem) -> CompletionRequest:
        match [raw for raw in (item.request, item.params, item.body) if raw is not UNSET]:
            case [Raw() as raw]:
                sent, data = object_of(bytes(raw), "The request"), bytes(raw)
            case _:
                raise InvalidRequest("Give exactly one of `request`, `params` and `body`")
        if raw is item.params:
            return messages.completion_request(sent, data)
        return self._chat(sent, data) if raw is item.body else _native(sent, data)

    def _chat(self, sent: dict[str, Any], raw: bytes) -> CompletionRequest:
        chat = chat_request.read(raw)
        told = chat_request.mapped(
            chat,
            sent,
            version=self._settings.upstream_version,
            max_tokens=self._catalogue.max_tokens(chat.model) or self._settings.default_max_tokens,
            fetches_urls=self._settings.upstream != "bedrock",
        )
        return CompletionRequest(body=told.body, messages=told.messages)


def _native(sent: dict[str, Any], raw: bytes) -> CompletionRequest:
    for field in _THE_BATCHS:
        if field in sent:
            raise InvalidRequest(f"{field}: Not for an item of a batch")
    try:
        return schemas.completion_request(CreateCompletion.model_validate(sent), raw)
    except ValidationError as exc:
        raise validation_error(exc.errors()) from None


def _check_tokens(body: dict[str, Any]) -> None:
    """Tokens inside a request are not stored, and an item is asked of the upstream from the store."""
    servers = body.get("mcp_servers")
    if isinstance(servers, list) and any(isinstance(each, dict) and "authorization_token" in each for each in servers):
        raise InvalidRequest("mcp_servers: An `authorization_token` is not stored, so no item can have one")
