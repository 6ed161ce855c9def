"""`/v1/usage`: what was used, and what it cost."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from app.access import usage_csv, usage_repository
from app.access.service import visible_tenant
from app.access.usage_repository import NONE
from app.access.usage_schemas import COLUMNS, Cursor, Group, UsagePage, UsageQuery, UsageRow
from app.dependencies import PoolDep, Requires, SettingsDep
from app.domain.principal import Principal, Scope

router = APIRouter(prefix="/v1", tags=["usage"])

Caller = Annotated[Principal, Depends(Requires(Scope.ADMIN, Scope.COMPLETIONS))]
_SUMS: Final = [name for name in UsageRow.model_fields if name not in COLUMNS.values()]


@router.get("/usage", summary="Sum up what was used")
async def usage(
    request: Request, caller: Caller, pool: PoolDep, settings: SettingsDep, asked: Annotated[UsageQuery, Query()]
) -> Response:
    """Tokens, searches and costs of the completions that began within a time, by day, model, key or conversation.

    An admin key sees its tenant, any other key what was asked with it. Money is in decimal strings. What is unsettled
    counts among the completions and is told apart as `open`, with what is reserved for it. Where there are more groups,
    `link` has the next page, and `next_cursor` its cursor.
    """
    rows = await _rows(pool, caller, asked)
    page = rows[: asked.limit]
    cursor = _cursor(page[-1], asked.groups) if len(rows) > asked.limit else None
    headers = {"link": _link(request, settings.location("/v1/usage"), cursor)} if cursor is not None else {}
    if asked.format == "csv" or (asked.format is None and _wants_csv(request.headers.get("accept", ""))):
        columns = [*[COLUMNS[group] for group in asked.groups], *_SUMS]
        body = usage_csv.table(columns, [[_value(row[name]) for name in columns] for row in page])
        headers["content-disposition"] = 'attachment; filename="usage.csv"'
        return Response(body, headers=headers, media_type=usage_csv.MEDIA_TYPE)
    told = [UsageRow.model_validate({name: _value(value) for name, value in row.items()}) for row in page]
    json = UsagePage(data=told, next_cursor=cursor).model_dump_json(exclude_unset=True)
    return Response(json, headers=headers, media_type="application/json")


async def _rows(pool: PoolDep, caller: Principal, asked: UsageQuery) -> list[dict[str, Any]]:
    """One more than the page may have, if there are so many."""
    tenant = visible_tenant(caller, asked.tenant)
    owner = None if Scope.ADMIN in caller.scopes else caller.key_id
    after = Cursor.read(asked.cursor, asked.groups) if asked.cursor is not None else None
    async with pool.connection() as conn:
        return await usage_repository.summed_up(
            conn, asked, tenant=tenant, owner=owner, after=after, limit=asked.limit + 1
        )


def _value(value: Any) -> Any:
    return None if value == NONE else value


def _cursor(last: dict[str, Any], groups: list[Group]) -> str:
    return Cursor(**{COLUMNS[group]: last[COLUMNS[group]] for group in groups}).written()


def _link(request: Request, location: str, cursor: str) -> str:
    return f'<{location}?{request.url.include_query_params(cursor=cursor).query}>; rel="next"'


def _wants_csv(accept: str) -> bool:
    return "text/csv" in accept and "json" not in accept
