"""The list of models, in one form that OpenAI's clients and Anthropic's both read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from app.catalogue import Catalogue
from app.dependencies import CatalogueDep, ListingDep, Requires
from app.domain.errors import NotFound
from app.domain.principal import Principal, Scope
from app.providers.base import UpstreamModel

router = APIRouter(prefix="/v1/models", tags=["Models"])

Caller = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]
ModelId = Annotated[str, Path(alias="model_id")]

# What the Models API says of a model whose release it does not know.
_UNKNOWN_DATE: Final = datetime(1970, 1, 1, tzinfo=UTC)


@router.get("", summary="List models")
async def list_models(_: Caller, catalogue: CatalogueDep, listing: ListingDep) -> Response:
    """Those of the settings file, then the upstream's own where others may be asked for; all on one page."""
    data = await _listed(catalogue, listing)
    return _json(
        {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )


@router.get("/{model_id:path}", summary="Read a model")
async def read_model(id: ModelId, _: Caller, catalogue: CatalogueDep, listing: ListingDep) -> Response:
    """By its name, which may be an alias."""
    for model in await _listed(catalogue, listing):
        if model["id"] == id:
            return _json(model)
    raise NotFound(f"There is no model `{id}` here.", code="model_not_found", param="model")


async def _listed(catalogue: Catalogue, listing: ListingDep) -> list[dict[str, Any]]:
    return models(catalogue, await listing.models())


def models(catalogue: Catalogue, upstream: Sequence[UpstreamModel]) -> list[dict[str, Any]]:
    """All that may be asked for and is known by name."""
    known = {model.id: model for model in upstream}
    listed = []
    for name, model in catalogue.models.items():
        original = known.get(model.upstream or name)
        listed.append(_model(name, model.display_name, original.created_at if original else None))
    if not catalogue.only_listed:
        others = [model for model in upstream if model.id not in catalogue.models]
        listed += [_model(model.id, model.display_name, model.created_at) for model in others]
    return listed


def _model(id: str, display_name: str | None, released: datetime | None) -> dict[str, Any]:
    created_at = released or _UNKNOWN_DATE
    return {
        "id": id,
        "object": "model",
        "created": int(created_at.timestamp()),
        "owned_by": "anthropic",
        "type": "model",
        "display_name": display_name or id,
        "created_at": created_at,
    }


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
