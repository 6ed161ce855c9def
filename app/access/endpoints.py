"""`/v1/keys` for admins, and `/v1/tokens` for whoever puts a stream into somebody's browser."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app.access import repository, service
from app.access.authentication import Authenticator
from app.access.schemas import (
    KeyChange,
    KeyOut,
    KeyPage,
    NewKey,
    NewKeyOut,
    NewToken,
    Rotation,
    TenantName,
    TokenOut,
)
from app.dependencies import IdempotencyDep, PageDep, PoolDep, Requires, SettingsDep, page_of
from app.domain.principal import Principal, Scope

router = APIRouter(prefix="/v1")

Admin = Annotated[Principal, Depends(Requires(Scope.ADMIN))]
TokenMaker = Annotated[Principal, Depends(Requires(Scope.COMPLETIONS))]


async def _id(key_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    """What is no id names no key."""
    try:
        return UUID(key_id)
    except ValueError:
        raise service.no_such_key() from None


KeyId = Annotated[UUID, Depends(_id)]

_NO_STORE: Final = "no-store"


@router.post("/keys", tags=["keys"], status_code=201, summary="Make a key")
async def create_key(
    body: NewKey, admin: Admin, pool: PoolDep, settings: SettingsDep, again: IdempotencyDep, response: Response
) -> NewKeyOut:
    """Make a key. Its secret is in this answer and nowhere else: a repeated request gets 409 with the key's id."""
    key = await service.make_key(pool, admin, body, again)
    response.headers["location"] = settings.location(f"/v1/keys/{key.id}")
    response.headers["cache-control"] = _NO_STORE
    return key


@router.get("/keys", tags=["keys"], response_model=KeyPage, summary="List keys")
async def list_keys(
    admin: Admin, pool: PoolDep, page: PageDep, tenant: Annotated[TenantName | None, Query()] = None
) -> dict[str, Any]:
    """Keys, newest first, the revoked and expired ones among them; no browser tokens."""
    visible = service.visible_tenant(admin, tenant)
    async with pool.connection() as conn:
        keys = await repository.page(conn, visible, before=page.cursor, limit=page.limit + 1)
    return page_of([asdict(key) for key in keys], page)


@router.get("/keys/{key_id}", tags=["keys"], summary="Read a key")
async def get_key(admin: Admin, key_id: KeyId, pool: PoolDep) -> KeyOut:
    """One key, without its secret."""
    async with pool.connection() as conn:
        key = await repository.get(conn, key_id, service.visible_tenant(admin))
    if key is None:
        raise service.no_such_key()
    return KeyOut.model_validate(key)


async def _authenticator(request: Request) -> Authenticator:
    return request.state.authenticate  # type: ignore[no-any-return]


AuthenticatorDep = Annotated[Authenticator, Depends(_authenticator)]


@router.patch("/keys/{key_id}", tags=["keys"], response_model=KeyOut, summary="Change a key")
async def change_key(
    body: KeyChange, admin: Admin, key_id: KeyId, pool: PoolDep, authenticator: AuthenticatorDep
) -> repository.Key:
    """Change what is named: here at once, on other instances within 30 seconds; limits everywhere at once."""
    key = await service.change_key(pool, admin, key_id, body)
    authenticator.forget(key_id)
    return key


@router.post("/keys/{key_id}/rotate", tags=["keys"], summary="Give a key a new secret")
async def rotate_key(
    body: Rotation,
    admin: Admin,
    key_id: KeyId,
    pool: PoolDep,
    authenticator: AuthenticatorDep,
    again: IdempotencyDep,
    response: Response,
) -> NewKeyOut:
    """Give a key a new secret, which is in this answer and nowhere else. The old one is good until the overlap ends.

    Rotated again before that, the oldest secret ends at once.
    """
    key = await service.rotate_key(pool, admin, key_id, timedelta(seconds=body.overlap_seconds), again)
    authenticator.forget(key_id)
    response.headers["cache-control"] = _NO_STORE
    return key


@router.delete("/keys/{key_id}", tags=["keys"], status_code=204, summary="Revoke a key")
async def revoke_key(admin: Admin, key_id: KeyId, pool: PoolDep, authenticator: AuthenticatorDep) -> None:
    """Revoke a key and the browser tokens that it made, or one token: here at once, elsewhere within 30 seconds.

    Streams that run go on. Revoking a key again changes nothing.
    """
    await service.revoke_key(pool, admin, key_id)
    authenticator.forget(key_id)


@router.post("/tokens", status_code=201, tags=["tokens"], summary="Make a browser token")
async def create_token(
    body: NewToken, maker: TokenMaker, pool: PoolDep, again: IdempotencyDep, response: Response
) -> TokenOut:
    """Make a browser token: for one completion or one conversation, for minutes.

    Pages send it like a key, or as `?token=` where they cannot set headers (`EventSource`). It ends with the key that
    made it, at the latest. A repeated request gets 409 with the token's id.
    """
    response.headers["cache-control"] = _NO_STORE
    return await service.make_token(pool, maker, body, again)
