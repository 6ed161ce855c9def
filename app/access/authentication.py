"""From a secret to the one who holds it."""

import asyncio
import hmac
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.access.credentials import digest, is_possible
from app.access.holders import Holder, known_scopes
from app.access.look_ups import LookUps
from app.config import Settings
from app.db.pool import Pool
from app.domain.errors import Unauthenticated
from app.domain.principal import Principal, Scope, Tenant

# A revocation elsewhere takes effect within this time.
CACHE_SECONDS: Final = 30.0
_CACHE_SIZE: Final = 10_000
_ADMIN: Final = Principal(tenant=Tenant("default"), key_id=None, scopes=frozenset({Scope.ADMIN}))


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found for a secret, in seconds of the wall clock: a restored memory snapshot must not be fresh."""

    looked_up: float
    id: UUID
    principal: Principal
    expires: float
    revoked: bool

    def is_fresh(self, now: float) -> bool:
        return self.looked_up <= now < self.looked_up + CACHE_SECONDS

    def is_valid(self, now: float) -> bool:
        return not self.revoked and now < self.expires


class Authenticator:
    """Knows the configured admin key, and the keys and tokens of the database; remembers those for `CACHE_SECONDS`.

    Only what was found is remembered, so that wrong secrets push nothing out.
    """

    def __init__(self, pool: Pool, settings: Settings, tasks: asyncio.TaskGroup) -> None:
        self._look_up = LookUps(pool, tasks)
        self._admin_sha256 = digest(settings.admin_key.get_secret_value()) if settings.admin_key else None
        self._cache: dict[bytes, _Known] = {}
        self._forgotten = 0

    async def __call__(self, secret: str) -> Principal:
        """Who holds `secret`.

        Raises:
            Unauthenticated: nobody does; or the key, or the key that made this token, was revoked or has expired.
        """
        sha256 = digest(secret)
        if self._admin_sha256 is not None and hmac.compare_digest(sha256, self._admin_sha256):
            return _ADMIN
        now = time.time()
        known = await self._find(sha256, now) if is_possible(secret) else None
        if known is None or not known.is_valid(now):
            raise Unauthenticated("This API key is not valid.")
        return known.principal

    def forget(self, id: UUID) -> None:
        """Look a key and its tokens, or one token, up anew the next time: so a change takes effect here at once."""
        for sha256 in [each for each, known in self._cache.items() if id in (known.id, known.principal.key_id)]:
            del self._cache[sha256]
        self._forgotten += 1

    async def _find(self, sha256: bytes, now: float) -> _Known | None:
        known = self._cache.get(sha256)
        if known is not None and known.is_fresh(now):
            return known
        forgotten = self._forgotten
        holder = await self._look_up(sha256)
        self._cache.pop(sha256, None)
        if holder is None:
            return None
        known = _known(holder, now)
        if forgotten == self._forgotten:  # else it may have been read before the change that is to be seen at once
            self._remember(sha256, known)
        return known

    def _remember(self, sha256: bytes, known: _Known) -> None:
        if len(self._cache) >= _CACHE_SIZE:
            del self._cache[next(iter(self._cache))]
        self._cache[sha256] = known


def _known(holder: Holder, now: float) -> _Known:
    principal = Principal(
        tenant=holder.tenant,
        key_id=holder.key_id,
        scopes=known_scopes(holder.scopes),
        allowed=frozenset(holder.allowed),
        completion_id=holder.completion_id,
        conversation_id=holder.conversation_id,
    )
    expires = holder.expires_at.timestamp() if holder.expires_at else float("inf")
    return _Known(looked_up=now, id=holder.id, principal=principal, expires=expires, revoked=holder.revoked)
