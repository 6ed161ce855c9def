"""The upstream's request is made ready while the database decides on it; without a decision nothing is sent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from app.config import Settings
from app.providers.anthropic import AnthropicProvider
from app.providers.base import ProviderRequest
from app.streaming.head_start import HeadStart
from tests.support.headwater import Headwater, until
from tests.support.meters import limit
from tests.support.postgres import Postgres
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

TENANT: Final = "head-start"
MODEL: Final = "claude-haiku-4-5"


def body(text: str, model: str = MODEL) -> dict[str, Any]:
    return {"model": model, "input": text, "max_tokens": 50, "stream": False}


@pytest_asyncio.fixture(loop_scope="module")
async def caller(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client(headwater.service.admin_key) as admin:
        key = await make_key(admin, tenant=TENANT)
    async with headwater.client(key) as client:
        yield client


def asked(headwater: Headwater, text: str) -> int:
    return sum(text in str(request.body) for request in headwater.upstream.requests)


async def test_nothing_is_sent_for_a_refused_request(headwater: Headwater, caller: httpx.AsyncClient) -> None:
    limit(headwater.database_url, TENANT, requests_per_minute=1)
    assert (await caller.post("/v1/completions", json=body("the admitted one"))).status_code == 200
    for _ in range(5):
        assert (await caller.post("/v1/completions", json=body("a refused one"))).status_code == 429
    assert (asked(headwater, "the admitted one"), asked(headwater, "a refused one")) == (1, 0)


async def test_nothing_is_sent_before_the_decision(headwater: Headwater, caller: httpx.AsyncClient) -> None:
    limit(headwater.database_url, TENANT, requests_per_minute=1000)
    with Postgres.connect(headwater.database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM meters WHERE tenant = %s FOR UPDATE", [TENANT])
        sending = asyncio.get_running_loop().create_task(
            caller.post("/v1/completions", json=body("one that has to wait"))
        )
        await asyncio.sleep(0.5)
        assert (asked(headwater, "one that has to wait"), sending.done()) == (0, False)
    assert (await sending).status_code == 200
    assert asked(headwater, "one that has to wait") == 1


async def test_a_retry_is_a_request_of_its_own(headwater: Headwater, caller: httpx.AsyncClient) -> None:
    limit(headwater.database_url, TENANT, requests_per_minute=1000)
    answer = await caller.post("/v1/completions", json=body("try twice", "sim-529?times=1"))
    assert answer.status_code == 200
    assert asked(headwater, "try twice") == 2


async def test_what_was_opened_and_never_taken_over_is_hung_up(headwater: Headwater) -> None:
    """As where its generation was stopped in the moment in which it came."""
    provider = AnthropicProvider(
        Settings.model_validate({"upstream_base_url": headwater.upstream.url, "upstream_api_key": "any"})
    )
    messages = [{"role": "user", "content": "one that is not taken over"}]
    asking = ProviderRequest({"model": "sim-silence-mid", "max_tokens": 20, "messages": messages}, "2023-06-01")
    with HeadStart(provider, asking) as head_start:
        head_start.go()
    await until(lambda: asked(headwater, "one that is not taken over") == 1)
    await head_start.close()
    [request] = headwater.asked("sim-silence-mid")
    await until(lambda: request.hung_up_at is not None)
    await provider.aclose()
