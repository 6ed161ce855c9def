"""Limits that were set over HTTP hold for completions at once, and what completions cost is shown."""

from decimal import Decimal
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from app.domain.ids import uuid7
from tests.support.headwater import Headwater
from tests.support.problems import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

# It has a listed price.
PRICED: Final = {"model": "claude-haiku-4-5", "input": "Hello.", "max_tokens": 20, "stream": False}
UNPRICED: Final = {**PRICED, "model": "claude-sim"}


class Key:
    def __init__(self, admin: httpx.AsyncClient, caller: httpx.AsyncClient, made: dict[str, Any]) -> None:
        self.tenant: str = made["tenant"]
        self._admin = admin
        self._caller = caller
        self._path = f"/v1/keys/{made['id']}"

    async def complete(self, body: dict[str, Any] = UNPRICED) -> httpx.Response:
        return await self._caller.post("/v1/completions", json=body)

    async def limit(self, **limits: Any) -> None:
        assert (await self._admin.patch(self._path, json={"limits": limits})).status_code == 200

    async def limit_tenant(self, **limits: Any) -> None:
        assert (await self._admin.put(f"/v1/tenants/{self.tenant}/limits", json=limits)).status_code == 200

    async def spent(self) -> dict[str, Decimal]:
        return await self._spent(self._path)

    async def spent_by_tenant(self) -> dict[str, Decimal]:
        return await self._spent(f"/v1/tenants/{self.tenant}/limits")

    async def _spent(self, path: str) -> dict[str, Decimal]:
        return {name: Decimal(value) for name, value in (await self._admin.get(path)).json()["spent"].items()}


@pytest_asyncio.fixture(loop_scope="module")
async def key(headwater: Headwater, admin: httpx.AsyncClient) -> Any:
    """A key of a tenant of its own."""
    body = {"name": "x", "scopes": ["completions"], "tenant": f"t-{uuid7().hex}"}
    made = (await admin.post("/v1/keys", json=body)).json()
    async with headwater.client(made["secret"]) as caller:
        yield Key(admin, caller, made)


async def test_a_limit_of_a_key_holds_until_it_is_taken_away(key: Key) -> None:
    await key.limit(requests_per_minute=1)
    assert (await key.complete()).status_code == 200
    assert problem(await key.complete()) == (429, "requests_limited")
    await key.limit(requests_per_minute=None)
    assert (await key.complete()).status_code == 200


async def test_a_limit_of_a_tenant_holds_for_its_keys(key: Key) -> None:
    await key.limit_tenant(tokens_per_minute=10)
    assert problem(await key.complete()) == (429, "too_many_tokens")
    await key.limit_tenant()
    assert (await key.complete()).status_code == 200


async def test_nothing_may_be_all(key: Key) -> None:
    await key.limit(open_streams=0)
    assert problem(await key.complete()) == (429, "open_streams_limited")


async def test_what_was_spent_is_shown_and_ends_a_budget(key: Key) -> None:
    assert (await key.complete(PRICED)).status_code == 200
    spent = await key.spent()
    assert spent == await key.spent_by_tenant()
    assert spent["this_month"] == spent["in_all"] > 0
    await key.limit(total_budget=str(spent["in_all"]))
    assert problem(await key.complete(PRICED)) == (402, "budget_exceeded")
    await key.limit(total_budget=None)
    await key.limit_tenant(monthly_budget=0)
    assert problem(await key.complete(PRICED)) == (402, "budget_exceeded")


async def test_what_has_no_price_needs_leave_under_a_budget(key: Key) -> None:
    await key.limit(monthly_budget="5.00")
    assert problem(await key.complete(UNPRICED)) == (403, "unknown_price")
    await key.limit(allow_unpriced=True)
    assert (await key.complete(UNPRICED)).status_code == 200
    assert await key.spent() == {"this_month": 0, "in_all": 0}
