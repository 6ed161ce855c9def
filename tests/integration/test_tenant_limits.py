"""`/v1/tenants/{tenant}/limits`: for the configured admin key alone."""

import httpx
import pytest

from tests.support.api import Api
from tests.support.problems import problem

UNLIMITED = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "open_streams": None,
    "monthly_budget": None,
    "total_budget": None,
    "allow_unpriced": False,
}
NOTHING = {"this_month": "0", "in_all": "0"}


@pytest.fixture
async def admin(api: Api) -> httpx.AsyncClient:
    return await api.admin()


async def test_limits_are_put_and_read(admin: httpx.AsyncClient) -> None:
    path = "/v1/tenants/acme.shop/limits"
    assert (await admin.get(path)).json() == {"tenant": "acme.shop", "limits": UNLIMITED, "spent": NOTHING}
    response = await admin.put(path, json={"requests_per_minute": 5, "monthly_budget": "1000.00"})
    expected = UNLIMITED | {"requests_per_minute": 5, "monthly_budget": "1000"}
    assert response.json() == {"tenant": "acme.shop", "limits": expected, "spent": NOTHING}
    assert (await admin.get(path)).json() == response.json()
    await admin.put(path, json={"open_streams": 1})
    assert (await admin.get(path)).json()["limits"] == UNLIMITED | {"open_streams": 1}


async def test_they_are_not_those_of_its_keys(api: Api, admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/tenants/acme/limits", json={"open_streams": 1})
    await api.key(tenant="acme", limits={"open_streams": 7})
    assert (await admin.get("/v1/tenants/acme/limits")).json()["limits"]["open_streams"] == 1
    assert (await admin.get("/v1/tenants/other/limits")).json()["limits"] == UNLIMITED
    [key] = (await admin.get("/v1/keys")).json()["data"]
    assert key["limits"]["open_streams"] == 7


async def test_a_wrong_limit_or_tenant_is_refused(admin: httpx.AsyncClient) -> None:
    response = await admin.put("/v1/tenants/acme/limits", json={"open_streams": -1})
    assert problem(response) == (422, "validation_failed")
    assert response.json()["param"] == "open_streams"
    assert problem(await admin.get("/v1/tenants/a%20b/limits")) == (422, "validation_failed")


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_nobody_else_may(api: Api, method: str) -> None:
    path = "/v1/tenants/mine/limits"
    body: dict[str, int] | None = {} if method == "PUT" else None
    own = await api.client_with("admin", tenant="mine")
    assert problem(await own.request(method, path, json=body)) == (403, "admin_key_only")
    caller = await api.client_with(tenant="mine")
    assert problem(await caller.request(method, path, json=body)) == (403, "missing_scope")
    nobody = await api.client()
    assert problem(await nobody.request(method, path, json=body)) == (401, "no_api_key")
