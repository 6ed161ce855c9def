"""The rules of making keys and tokens: nobody gives away more than is theirs to give."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from psycopg import AsyncConnection

from app.access import repository
from app.access.credentials import new_key, new_token
from app.access.schemas import NewKey, NewKeyOut, NewToken, TokenOut
from app.db.pool import Pool
from app.domain.errors import NotFound, PermissionDenied, Unauthenticated
from app.domain.ids import uuid7
from app.domain.principal import Principal, Scope, Tenant

_TOKEN_SCOPES: Final = frozenset({Scope.COMPLETIONS, Scope.CONVERSATIONS})


def visible_tenant(principal: Principal, wanted: Tenant | None = None) -> Tenant | None:
    """Whose keys an admin may see, None for all: the configured admin key everybody's, others their own tenant's.

    Raises:
        PermissionDenied: `wanted` is another tenant.
    """
    if principal.key_id is None:
        return wanted
    if wanted not in (None, principal.tenant):
        raise PermissionDenied("This key administers its own tenant only.", code="foreign_tenant")
    return principal.tenant


async def make_key(pool: Pool, principal: Principal, wanted: NewKey) -> NewKeyOut:
    """
    Raises:
        PermissionDenied: the key would be another tenant's, or be allowed more than the key that makes it.
    """
    tenant = visible_tenant(principal, wanted.tenant) or principal.tenant
    # Fields that reach further may reach another tenant's things.
    if principal.key_id is not None and not principal.allowed.issuperset(wanted.allowed):
        raise PermissionDenied("This key cannot allow what it is not allowed itself.", code="not_yours_to_allow")
    credential = new_key()
    async with pool.connection() as conn:
        key = await repository.insert(
            conn,
            id=uuid7(),
            tenant=tenant,
            name=wanted.name,
            credential=credential,
            scopes=set(wanted.scopes),
            allowed=set(wanted.allowed),
            expires_at=wanted.expires_at,
        )
    return NewKeyOut(**asdict(key), secret=credential.secret)


async def make_token(pool: Pool, principal: Principal, wanted: NewToken) -> TokenOut:
    """A token for a page in somebody's browser: it gets none of the fields that its key is allowed.

    Raises:
        NotFound: the tenant has no such completion or conversation.
        Unauthenticated: the key was revoked a moment ago.
    """
    assert principal.key_id is not None
    credential = new_token()
    scopes = principal.scopes & _TOKEN_SCOPES
    async with pool.connection() as conn:
        await _find_bound(conn, principal.tenant, wanted)
        expires_at = await repository.insert_token(
            conn,
            id=uuid7(),
            parent_id=principal.key_id,
            credential=credential,
            scopes=scopes,
            completion_id=wanted.completion_id,
            conversation_id=wanted.conversation_id,
            ttl=timedelta(seconds=wanted.ttl_seconds),
        )
    if expires_at is None:
        raise Unauthenticated("This API key is not valid.")
    return TokenOut(
        token=credential.secret,
        expires_at=expires_at,
        scopes=sorted(scopes),
        completion_id=wanted.completion_id,
        conversation_id=wanted.conversation_id,
    )


async def _find_bound(conn: AsyncConnection[Any], tenant: Tenant, wanted: NewToken) -> None:
    if wanted.completion_id is not None and not await repository.owns_completion(conn, tenant, wanted.completion_id):
        raise NotFound("There is no such completion.")
    if wanted.conversation_id is not None and not await repository.owns_conversation(
        conn, tenant, wanted.conversation_id
    ):
        raise NotFound("There is no such conversation.")
