"""Limits and budgets of a key and its tenant, as callers of every dialect meet them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.support.headwater import Headwater
from tests.support.meters import limit
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE: Final = {"models_file": Path(__file__).with_name("prices.toml")}
# As dear, and half a minute long.
SLOW: Final = "sim-ok?rate=20&tokens=600"
# 1 and 5 dollars for a million tokens, by the list.
PRICED: Final = "claude-haiku-4-5"
_numbers = itertools.count()

MESSAGES: Final = [{"role": "user", "content": "Hello."}]
DIALECTS: Final[dict[str, dict[str, Any]]] = {
    "/v1/completions": {"input": "Hello.", "max_tokens": 50},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 50},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 50},
    "/v1/responses": {"input": "Hello.", "max_output_tokens": 50},
    "/api/chat": {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hello."}]}]},
}


class Caller:
    """A tenant with one key."""

    def __init__(self, headwater: Headwater, client: httpx.AsyncClient, tenant: str) -> None:
        self.headwater = headwater
        self.client = client
        self.tenant = tenant

    def limit(self, *, of_tenant: bool = False, **limits: Any) -> None:
        limit(self.headwater.database_url, self.tenant, of_tenant=of_tenant, **limits)

    async def post(self, path: str = "/v1/completions", **fields: Any) -> httpx.Response:
        return await self.client.post(path, json={"model": PRICED, "stream": False} | DIALECTS[path] | fields)

    @asynccontextmanager
    async def streaming(self, **fields: Any) -> AsyncIterator[httpx.Response]:
        """A stream that lasts until it is left and cancelled."""
        body = {"model": SLOW, "input": "Hello.", "max_tokens": 2000, **fields}
        async with self.client.stream("POST", "/v1/completions", json=body) as response:
            yield response
            if response.status_code == 200:
                await self.client.post(f"/v1/completions/{response.headers['x-completion-id']}/cancel")

    def ledger(self) -> list[Any]:
        """Reserved input and output, what was reserved and what it cost, in the order of the requests."""
        return self.headwater.rows(
            "SELECT reserved_input, reserved_output, reserved, cost FROM ledger WHERE tenant = %s ORDER BY created_at",
            self.tenant,
        )

    def age(self, seconds: int) -> None:
        """Let the counts of the tenant's meters grow older, as time would."""
        self.headwater.rows(
            "UPDATE meters SET newest = newest - %s WHERE tenant = %s RETURNING tenant", seconds, self.tenant
        )


@pytest_asyncio.fixture(loop_scope="module")
async def caller(headwater: Headwater) -> AsyncIterator[Caller]:
    tenant = f"limited-{next(_numbers)}"
    async with headwater.client(headwater.service.admin_key) as admin:
        key = await make_key(admin, tenant=tenant)
    async with headwater.client(key) as client:
        yield Caller(headwater, client, tenant)


def assert_limited(response: httpx.Response, code: str) -> None:
    assert response.status_code == 429, response.text
    assert code in response.text or response.headers["content-type"].startswith("text/plain")
    assert response.headers["request-id"]


@pytest.mark.parametrize("of_tenant", [False, True], ids=["key", "tenant"])
async def test_requests_of_a_minute(caller: Caller, of_tenant: bool) -> None:
    caller.limit(requests_per_minute=3, of_tenant=of_tenant)
    answers = [await caller.post() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert_limited(answers[3], "requests_limited")
    assert 55 <= int(answers[3].headers["retry-after"]) <= 61
    assert ("tenant" in answers[3].json()["detail"]) == of_tenant
    assert len(caller.ledger()) == 3

    caller.age(50)
    assert_limited(await caller.post(), "requests_limited")
    caller.age(11)
    assert (await caller.post()).status_code == 200


async def test_retry_after_is_when_there_is_room_again(caller: Caller) -> None:
    caller.limit(requests_per_minute=2)
    await caller.post()
    caller.age(40)
    await caller.post()
    refused = await caller.post()
    assert 18 <= int(refused.headers["retry-after"]) <= 21
    caller.age(int(refused.headers["retry-after"]))
    assert (await caller.post()).status_code == 200
    assert_limited(await caller.post(), "requests_limited")


async def test_a_clock_that_was_set_back_gives_nothing_away(caller: Caller) -> None:
    caller.limit(requests_per_minute=2)
    await caller.post()
    caller.age(-3600)
    assert [(await caller.post()).status_code for _ in range(2)] == [200, 429]


async def test_tokens_of_a_minute_are_reserved_and_given_back(caller: Caller) -> None:
    caller.limit(tokens_per_minute=10_000)
    async with caller.streaming(max_tokens=9_000):
        assert_limited(await caller.post(max_tokens=2_000), "tokens_limited")
    body = {"model": PRICED, "input": "Hello.", "max_tokens": 6_000, "stream": False}
    answers = [await caller.client.post("/v1/completions", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    used = sum(answer.json()["usage"]["input_tokens"] + answer.json()["usage"]["output_tokens"] for answer in answers)
    [(requests, tokens, kept_requests, kept)] = caller.headwater.rows(
        "SELECT (SELECT sum(r) FROM unnest(requests) r), (SELECT sum(t) FROM unnest(tokens) t),"
        " requests_in_window, tokens_in_window FROM meters"
        " WHERE tenant = %s AND key_id IS NOT NULL",
        caller.tenant,
    )
    [(streamed,)] = caller.headwater.rows(
        "SELECT input_tokens + output_tokens FROM ledger WHERE tenant = %s ORDER BY created_at LIMIT 1", caller.tenant
    )
    assert tokens == kept == used + streamed
    assert requests == kept_requests == 4


async def test_more_tokens_than_a_minute_may_have_are_refused_for_good(caller: Caller) -> None:
    caller.limit(tokens_per_minute=1_000)
    refused = await caller.post(max_tokens=5_000)
    assert_limited(refused, "too_many_tokens")
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers


async def test_open_streams(caller: Caller) -> None:
    caller.limit(open_streams=2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            assert (await stack.enter_async_context(caller.streaming())).status_code == 200
        refused = await caller.post()
        assert_limited(refused, "open_streams_limited")
        assert refused.headers["retry-after"] == "1"
    assert (await caller.post()).status_code == 200


@pytest.mark.parametrize("path", DIALECTS)
async def test_what_is_left_is_told_in_the_dialects_headers(caller: Caller, path: str) -> None:
    caller.limit(requests_per_minute=2, tokens_per_minute=100_000)
    first, second, refused = [
        await caller.post(path, **({"id": str(number)} if path == "/api/chat" else {})) for number in range(3)
    ]
    assert [first.status_code, second.status_code, refused.status_code] == [200, 200, 429]
    assert_limited(refused, "requests_limited" if path == "/v1/completions" else "rate_limit")
    for response, left in ((first, "1"), (second, "0"), (refused, "0")):
        match path:
            case "/v1/messages":
                assert response.headers["anthropic-ratelimit-requests-limit"] == "2"
                assert response.headers["anthropic-ratelimit-requests-remaining"] == left
                assert response.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
                assert int(response.headers["anthropic-ratelimit-tokens-remaining"]) < 100_000
            case "/v1/chat/completions" | "/v1/responses":
                assert response.headers["x-ratelimit-limit-requests"] == "2"
                assert response.headers["x-ratelimit-remaining-requests"] == left
                assert int(response.headers["x-ratelimit-remaining-tokens"]) < 100_000
            case _:
                assert f'"requests";r={left};t=61' in response.headers["ratelimit"]
                assert '"requests";q=2;w=61' in response.headers["ratelimit-policy"]


async def test_a_caller_without_limits_is_told_of_none(caller: Caller) -> None:
    answer = await caller.post("/v1/messages")
    assert not [name for name in answer.headers if "ratelimit" in name]


@pytest.mark.parametrize("of_tenant", [False, True], ids=["key", "tenant"])
@pytest.mark.parametrize("kind", ["monthly_budget", "total_budget"])
async def test_a_budget_holds(caller: Caller, kind: str, of_tenant: bool) -> None:
    budget = Decimal("0.009")  # an answer reserves 0.0075 for its output and costs a tenth of that
    caller.limit(of_tenant=of_tenant, **{kind: budget})
    answers = [await caller.post(max_tokens=1_500)]
    while answers[-1].status_code == 200 and len(answers) < 20:
        answers.append(await caller.post(max_tokens=1_500))
    last = answers[-1]
    assert last.status_code == 402
    assert last.json()["type"] == "/problems/budget_exceeded"
    assert last.headers["x-should-retry"] == "false"
    *_, reserved, _ = caller.ledger()[-1]
    spent = sum(cost for *_, cost in caller.ledger())
    assert budget - reserved < spent <= budget
    meters = caller.headwater.rows("SELECT spent, spent_in_month FROM meters WHERE tenant = %s", caller.tenant)
    assert meters == [(spent, spent)] * 2


async def test_a_new_month_has_its_own_budget(caller: Caller) -> None:
    caller.limit(monthly_budget=Decimal("0.0076"))
    assert [(await caller.post(max_tokens=1_500)).status_code for _ in range(2)] == [200, 402]
    caller.headwater.rows(
        "UPDATE meters SET month = month - interval '1 month' WHERE tenant = %s RETURNING tenant", caller.tenant
    )
    assert (await caller.post(max_tokens=1_500)).status_code == 200


async def test_what_is_open_counts_as_spent(caller: Caller) -> None:
    caller.limit(total_budget=Decimal("0.03"))
    async with caller.streaming(max_tokens=4_000):
        [(_, _, reserved, cost)] = caller.ledger()
        assert Decimal("0.02") <= reserved < Decimal("0.0202")
        assert cost is None
        assert (await caller.post(max_tokens=4_000)).status_code == 402
    assert (await caller.post(max_tokens=4_000)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/v1/completions", 402, "budget_exceeded"),
        ("/v1/messages", 402, "billing_error"),
        ("/v1/chat/completions", 429, "insufficient_quota"),
        ("/v1/responses", 429, "insufficient_quota"),
        ("/api/chat", 402, "budget"),
    ],
)
async def test_a_used_up_budget_in_every_dialect(caller: Caller, path: str, status: int, kind: str) -> None:
    caller.limit(total_budget=Decimal("0.000001"))
    refused = await caller.post(path)
    assert refused.status_code == status
    assert kind in refused.text
    assert refused.headers["x-should-retry"] == "false"
    assert caller.ledger() == []


async def test_what_has_no_known_price_is_refused_under_a_budget(caller: Caller) -> None:
    caller.limit(total_budget=Decimal(1))
    refused = await caller.post(model="claude-sim")
    assert refused.status_code == 403
    assert refused.json()["type"] == "/problems/unknown_price"

    caller.limit(total_budget=Decimal(1), allow_unpriced=True)
    assert (await caller.post(model="claude-sim")).status_code == 200
    [(*_, reserved, cost)] = caller.ledger()
    assert (reserved, cost) == (None, None)


async def test_the_history_is_reserved_too(caller: Caller) -> None:
    conversation = (await caller.client.post("/v1/conversations", json={})).json()["id"]
    await caller.post(input="word " * 3_000, conversation_id=conversation)
    await caller.post(conversation_id=conversation)
    (first, *_), (second, *_) = caller.ledger()
    assert 4_900 < first < 5_100
    assert second > first

    chained = await caller.post("/v1/responses", input="word " * 3_000)
    await caller.post("/v1/responses", previous_response_id=chained.json()["id"])
    *_, (third, *_), (fourth, *_) = caller.ledger()
    assert fourth > third > 4_900


async def test_a_refused_request_leaves_nothing_behind(caller: Caller) -> None:
    conversation = (await caller.client.post("/v1/conversations", json={})).json()["id"]
    caller.limit(requests_per_minute=0)
    before = caller.headwater.counts()
    refused = await caller.client.post(
        "/v1/completions",
        json={"model": PRICED, "input": "Hi.", "max_tokens": 9, "conversation_id": conversation},
        headers={"idempotency-key": f"refused-{caller.tenant}"},
    )
    assert_limited(refused, "requests_limited")
    assert caller.headwater.counts() == before
    assert caller.headwater.rows("SELECT * FROM idempotency_keys WHERE tenant = %s", caller.tenant) == []


async def test_many_at_once_use_a_limit_up_and_never_more(caller: Caller) -> None:
    caller.limit(requests_per_minute=25, open_streams=10)
    answers = await asyncio.gather(*(caller.post() for _ in range(100)))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    while statuses.count(200) < 25:
        more = await asyncio.gather(*(caller.post() for _ in range(10)))
        statuses += [answer.status_code for answer in more]
    assert statuses.count(200) == 25
    assert len(caller.ledger()) == 25
