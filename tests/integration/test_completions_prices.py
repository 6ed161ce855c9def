"""What changes a price: only for keys that may, at the price that it has, and under a budget only if it has one."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import Api, StartApi
from tests.support.meters import limit
from tests.support.problems import problem

MODELS: Final = """
[models.claude-ours]
[models.claude-ours.price]
input = 2.5
output = 10
cache_read = 0.25
cache_write = 3.125
cache_write_1h = 5

[models.claude-searching]
price = { input = "0.1", output = "0.3", web_searches = "0.7" }

[models."sim-ok?searches=3&tokens=5"]
price = { input = "0.1", output = "0.3", web_searches = "0.7" }

[models."sim-ok?service_tier=priority"]
price = { input = 1, output = 1 }

[models."our/alias"]
upstream = "claude-ours"
"""
# 5 and 25 dollars for a million tokens by the list, 10 and 50 for fast ones; and by the file.
LISTED: Final = "claude-opus-5"
OURS: Final = "claude-ours"
BODY: Final[dict[str, Any]] = {"input": "Hello.", "max_tokens": 100, "stream": False}
ALLOWED: Final = ["speed", "service_tier", "inference_geo", "server_tools"]
SEARCH: Final = {"tools": [{"type": "web_search_20260209", "name": "web_search"}]}
FETCH: Final = {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}
EXECUTION: Final = {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}


@pytest.fixture
async def api(start_api: StartApi, upstream: SimulatedUpstream, tmp_path: Path) -> Api:
    """With the file of models above."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    return await start_api(upstream_base_url=upstream.url, models_file=str(models))


@pytest.fixture
async def client(api: Api) -> httpx.AsyncClient:
    """A key that may use all that changes a price."""
    return await api.client_with(allowed=ALLOWED)


async def completed(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/completions", json=BODY | fields)
    assert response.status_code == 200, response.text
    completion: dict[str, Any] = response.json()
    return completion


def dollars(usage: dict[str, Any], input: str, output: str) -> Decimal:
    counted: tuple[int, int] = usage["input_tokens"], usage["output_tokens"]
    return (Decimal(input) * counted[0] + Decimal(output) * counted[1]) / 1_000_000


@pytest.mark.parametrize(
    ("fields", "input", "output"),
    [
        ({"model": LISTED}, "5", "25"),
        ({"model": LISTED, "speed": "standard"}, "5", "25"),
        ({"model": LISTED, "speed": "fast"}, "10", "50"),
        ({"model": LISTED, "service_tier": "auto"}, "5", "25"),
        ({"model": LISTED, "service_tier": "standard_only"}, "5", "25"),
        ({"model": LISTED, "service_tier": "priority"}, "5", "25"),  # the upstream tells that it served "standard"
        ({"model": LISTED, "inference_geo": "global"}, "5", "25"),
        ({"model": LISTED, **SEARCH}, "5", "25"),
        ({"model": LISTED, **FETCH}, "5", "25"),
        ({"model": OURS}, "2.5", "10"),
        ({"model": "our/alias"}, "2.5", "10"),
        ({"model": OURS, **FETCH}, "2.5", "10"),
        ({"model": "claude-searching", **SEARCH}, "0.1", "0.3"),
    ],
)
async def test_the_cost_follows(client: httpx.AsyncClient, fields: dict[str, Any], input: str, output: str) -> None:
    completion = await completed(client, **fields)
    assert Decimal(completion["cost"]) == dollars(completion["usage"], input, output)
    assert completion["estimated"] is False


async def test_searches_have_their_price(client: httpx.AsyncClient) -> None:
    completion = await completed(client, model="sim-ok?searches=3&tokens=5", **SEARCH)
    assert Decimal(completion["cost"]) == dollars(completion["usage"], "0.1", "0.3") + Decimal("0.0021")
    [total] = (await client.get("/v1/usage")).json()["data"]
    assert (total["web_searches"], total["cost"]) == (3, completion["cost"])


UNKNOWN: Final[dict[str, dict[str, Any]]] = {
    "model": {"model": "claude-sim"},
    "speed": {"model": LISTED, "speed": "warp"},
    "speed-of-a-model-without": {"model": "claude-haiku-4-5", "speed": "fast"},
    "speed-by-the-file": {"model": OURS, "speed": "fast"},
    "place": {"model": LISTED, "inference_geo": "us"},
    "tool": {"model": LISTED, **EXECUTION},
    "tier-that-served": {"model": "sim-ok?service_tier=priority"},
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_what_has_no_known_price_costs_null(client: httpx.AsyncClient, name: str) -> None:
    completion = await completed(client, **UNKNOWN[name])
    assert (completion["cost"], completion["estimated"]) == (None, False)
    [total] = (await client.get("/v1/usage")).json()["data"]
    assert (total["cost"], total["unpriced"], total["completions"]) == (None, 1, 1)


# Of what the upstream may grant or not, the price is known in the end, and until then it is not.
UNSURE: Final = {name: fields for name, fields in UNKNOWN.items() if name != "tier-that-served"} | {
    "tier": {"model": LISTED, "service_tier": "priority"},
    "searches-by-the-file": {"model": OURS, **SEARCH},
}


@pytest.mark.parametrize("budget", ["monthly_budget", "total_budget"])
@pytest.mark.parametrize("of_tenant", [False, True], ids=["key", "tenant"])
async def test_a_budget_refuses_it(
    api: Api, upstream: SimulatedUpstream, database_url: str, budget: str, of_tenant: bool
) -> None:
    client = await api.client_with(allowed=ALLOWED, tenant="frugal")
    limit(database_url, "frugal", of_tenant=of_tenant, **{budget: 100})
    for name, fields in UNSURE.items():
        refused = await client.post("/v1/completions", json=BODY | fields)
        assert (name, *problem(refused)) == (name, 403, "unknown_price")
    assert upstream.requests == []
    assert (await client.get("/v1/usage")).json()["data"][0]["completions"] == 0
    assert (await completed(client, model=LISTED, speed="fast", **SEARCH))["cost"] is not None


@pytest.mark.parametrize("name", UNSURE)
async def test_a_budget_lets_it_pass_where_that_is_allowed(api: Api, database_url: str, name: str) -> None:
    client = await api.client_with(allowed=ALLOWED, tenant="trusting")
    limit(database_url, "trusting", total_budget=100, allow_unpriced=True)
    assert (await completed(client, **UNSURE[name]))["status"] == "completed"


async def test_limits_that_are_no_budget_let_it_pass(api: Api, database_url: str) -> None:
    client = await api.client_with(tenant="quick")
    limit(database_url, "quick", requests_per_minute=100, open_streams=100)
    assert (await completed(client, model="claude-sim"))["cost"] is None


async def test_a_price_opens_no_way_around_what_a_key_may(api: Api, upstream: SimulatedUpstream) -> None:
    client = await api.client_with()
    for fields in ({"speed": "fast"}, {"service_tier": "auto"}, {"inference_geo": "global"}, SEARCH, FETCH):
        refused = await client.post("/v1/completions", json=BODY | {"model": LISTED} | fields)
        assert problem(refused) == (403, "not_allowed_for_key")
    assert upstream.requests == []


async def test_writes_to_the_cache_and_reads_have_their_prices(client: httpx.AsyncClient) -> None:
    document = {"type": "text", "text": "word " * 400, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    short = {"type": "text", "text": "word " * 400, "cache_control": {"type": "ephemeral"}}
    written = await completed(client, model=OURS, input=[{"role": "user", "content": [document]}])
    read = await completed(
        client,
        model=OURS,
        input=[
            {"role": "user", "content": [short]},
            {"role": "assistant", "content": "Well."},
            {"role": "user", "content": [short]},
        ],
    )
    for completion in (written, read):
        usage = completion["usage"]
        kept = usage["cache_creation"]
        assert (
            Decimal(completion["cost"])
            == dollars(usage, "2.5", "10")
            + (
                usage["cache_read_input_tokens"] * Decimal("0.25")
                + kept["ephemeral_5m_input_tokens"] * Decimal("3.125")
                + kept["ephemeral_1h_input_tokens"] * Decimal(5)
            )
            / 1_000_000
        )
    assert written["usage"]["cache_creation"]["ephemeral_1h_input_tokens"] > 400
    assert read["usage"]["cache_read_input_tokens"] > 400
    assert read["usage"]["cache_creation"]["ephemeral_5m_input_tokens"] > 400
