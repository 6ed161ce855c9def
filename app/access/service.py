"""The rules of making and changing keys and tokens: nobody gives away more than is theirs to give."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from app.access import audit, meters, repository
from app.access.credentials import new_key, new_token
from app.access.repository import Key
from app.access.schemas import KeyChange, KeyOut, Limits, NewKey, NewKeyOut, NewToken, TokenOut
from app.db import idempotency
from app.db.pool import Pool
from app.domain.completion import Idempotency
from app.domain.errors import Conflict, NotFound, PermissionDenied, Unauthenticated
from app.domain.ids import uuid7
from app.domain.principal import Principal, Scope, Tenant

_TOKEN_SCOPES: Final = frozenset({Scope.COMPLETIONS, Scope.CONVERSATIONS})
_AUDITED: Final = {
    "name",
    "shown_prefix",
    "scopes",
    "allowed",
    "limits",
    "expires_at",
    "previous_secret_until",
}


def no_such_key() -> NotFound:
    return NotFound("There is no such key.")


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


async def make_key(pool: Pool, principal: Principal, wanted: NewKey, again: Idempotency | None) -> NewKeyOut:
    """
    Raises:
        PermissionDenied: the key would be another tenant's, or be allowed more than the key that makes it.
        Conflict: a request of this idempotency key has made one.
    """
    tenant = visible_tenant(principal, wanted.tenant) or principal.tenant
    _check_allowed(principal, wanted.allowed)
    id, credential = uuid7(), new_key()
    async with pool.connection() as conn, conn.transaction():
        await _claim(conn, principal, again, id)
        await repository.insert(
            conn,
            id=id,
            tenant=tenant,
            name=wanted.name,
            credential=credential,
            scopes=set(wanted.scopes),
            allowed=set(wanted.allowed),
            expires_at=wanted.expires_at,
        )
        await meters.set_limits(conn, tenant, id, wanted.limits.model_dump())
        key = await _changed(conn, principal, "key.created", None, id)
    return NewKeyOut(**asdict(key), secret=credential.secret)


async def change_key(pool: Pool, principal: Principal, id: UUID, wanted: KeyChange) -> Key:
    """
    Raises:
        NotFound: the admin sees no such key.
        PermissionDenied: the key would be allowed more than the key that changes it.
        Conflict: it was revoked. One that has expired can be given more time.
    """
    fields = wanted.model_dump(exclude_unset=True, exclude={"limits"})
    limits = wanted.limits.model_dump(exclude_unset=True)
    async with pool.connection() as conn, conn.transaction():
        before = await _locked(conn, principal, id)
        if before.revoked_at is not None:
            raise Conflict("This key was revoked.", code="key_not_valid")
        columns = {name: getattr(before, name) for name in ("name", "scopes", "allowed", "expires_at")} | fields
        _check_allowed(principal, columns["allowed"])
        await repository.update(conn, before.tenant, id, **columns)
        if limits:
            merged = Limits.model_validate(before.limits | limits)
            await meters.set_limits(conn, before.tenant, id, merged.model_dump())
        return await _changed(conn, principal, "key.changed", before, id)


async def rotate_key(
    pool: Pool, principal: Principal, id: UUID, overlap: timedelta, again: Idempotency | None
) -> NewKeyOut:
    """Exchange its secret. Of two that were good until now, the older one ends at once.

    Raises:
        NotFound: the admin sees no such key.
        PermissionDenied: the key is allowed more than the key that would get to know its secret.
        Conflict: it is not valid any more; or a request of this idempotency key has exchanged its secret.
    """
    credential = new_key()
    async with pool.connection() as conn, conn.transaction():
        await _claim(conn, principal, again, id)
        before = await _locked(conn, principal, id)
        _check_allowed(principal, before.allowed)
        if before.revoked_at is not None or (before.expires_at is not None and before.expires_at <= datetime.now(UTC)):
            raise Conflict("This key was revoked or has expired.", code="key_not_valid")
        await repository.rotate(conn, before.tenant, id, credential, overlap)
        key = await _changed(conn, principal, "key.rotated", before, id)
    return NewKeyOut(**asdict(key), secret=credential.secret)


async def revoke_key(pool: Pool, principal: Principal, id: UUID) -> None:
    """
    Raises:
        NotFound: the admin sees no such key or token.
    """
    async with pool.connection() as conn, conn.transaction():
        revoked = await repository.revoke(conn, id, visible_tenant(principal))
        if revoked is None:
            raise no_such_key()
        before, after = (
            {"revoked_at": moment.isoformat() if moment is not None else None}
            for moment in (revoked.before, revoked.after)
        )
        await audit.note(conn, principal, revoked.tenant, "key.revoked", id, before, after)


async def set_tenant_limits(pool: Pool, principal: Principal, tenant: Tenant, limits: Limits) -> None:
    async with pool.connection() as conn, conn.transaction():
        await meters.lock_tenant(conn, tenant)
        before, _ = await meters.of_tenant(conn, tenant)
        await meters.set_limits(conn, tenant, None, limits.model_dump())
        after, _ = await meters.of_tenant(conn, tenant)
        await audit.note(conn, principal, tenant, "limits.changed", None, {"limits": before}, {"limits": after})


async def make_token(pool: Pool, principal: Principal, wanted: NewToken, again: Idempotency | None) -> TokenOut:
    """A token for a page in somebody's browser: it gets none of the fields that its key is allowed.

    Raises:
        NotFound: the tenant has no such completion or conversation.
        Unauthenticated: the key was revoked a moment ago.
        Conflict: a request of this idempotency key has made one.
    """
    assert principal.key_id is not None
    id, credential = uuid7(), new_token()
    scopes = principal.scopes & _TOKEN_SCOPES
    async with pool.connection() as conn, conn.transaction():
        await _claim(conn, principal, again, id)
        await _find_bound(conn, principal.tenant, wanted)
        expires_at = await repository.insert_token(
            conn,
            id=id,
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
        id=id,
        token=credential.secret,
        expires_at=expires_at,
        scopes=sorted(scopes),
        completion_id=wanted.completion_id,
        conversation_id=wanted.conversation_id,
    )


def _check_allowed(principal: Principal, allowed: Iterable[str]) -> None:
    """Nobody makes, or gets to know, a key that is allowed more: such fields may reach another tenant's things."""
    if principal.key_id is not None and not principal.allowed.issuperset(allowed):
        raise PermissionDenied("This key cannot allow what it is not allowed itself.", code="not_yours_to_allow")


async def _claim(conn: AsyncConnection[Any], principal: Principal, again: Idempotency | None, id: UUID) -> None:
    made = await idempotency.claim(conn, principal.tenant, again, id)
    if made is not None:
        raise Conflict(
            f"This request was answered before, with the secret of {made}, which is shown once. "
            "If that answer was lost, revoke it and make another.",
            code="secret_shown_once",
        )


async def _locked(conn: AsyncConnection[Any], principal: Principal, id: UUID) -> Key:
    key = await repository.lock(conn, id, visible_tenant(principal))
    if key is None:
        raise no_such_key()
    return key


async def _changed(conn: AsyncConnection[Any], actor: Principal, action: str, before: Key | None, id: UUID) -> Key:
    """The key as it is now; what is different is noted."""
    key = await repository.get(conn, id, None)
    assert key is not None
    await audit.note(conn, actor, key.tenant, action, id, _audited(before) if before else {}, _audited(key))
    return key


def _audited(key: Key) -> dict[str, Any]:
    return KeyOut.model_validate(key).model_dump(mode="json", include=_AUDITED)


async def _find_bound(conn: AsyncConnection[Any], tenant: Tenant, wanted: NewToken) -> None:
    if wanted.completion_id is not None and not await repository.owns_completion(conn, tenant, wanted.completion_id):
        raise NotFound("There is no such completion.")
    if wanted.conversation_id is not None and not await repository.owns_conversation(
        conn, tenant, wanted.conversation_id
    ):
        raise NotFound("There is no such conversation.")
