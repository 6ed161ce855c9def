"""What each end of a completion is booked with: its row in the ledger, and the meters of its key and tenant."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from local.upstream import RecordedRequest
from tests.support import ledger
from tests.support.headwater import Headwater, until
from tests.support.ledger import COUNTS, Row
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE: Final = {"first_event_timeout": 3, "idle_timeout": 2, "peek_timeout": 0.3, "max_retries": 0}
# The faults are asked for in the metadata, so that the model is one with a price: 1 and 5 dollars for a million tokens.
MODEL: Final = "claude-haiku-4-5"
_numbers = itertools.count()


class Caller:
    """A tenant with one key, and one completion."""

    def __init__(self, headwater: Headwater, client: httpx.AsyncClient, tenant: str) -> None:
        self.headwater = headwater
        self.client = client
        self.tenant = tenant

    def body(self, fault: str, **fields: Any) -> dict[str, Any]:
        question = {"role": "user", "content": f"Question of {self.tenant}."}
        return {"model": MODEL, "max_tokens": 100, "messages": [question], "metadata": {"user_id": fault}, **fields}

    async def ask(self, fault: str, *, store: bool = True, **fields: Any) -> httpx.Response:
        headers = {"x-store": str(store).lower()}
        return await self.client.post("/v1/messages", json=self.body(fault, **fields), headers=headers)

    @asynccontextmanager
    async def streaming(self, fault: str) -> AsyncIterator[str]:
        """The id of a completion whose stream has begun."""
        body = self.body(fault, stream=True, max_tokens=10_000)
        async with self.client.stream("POST", "/v1/messages", json=body) as response:
            yield response.headers["x-completion-id"]

    def sent(self) -> RecordedRequest:
        """The request that the upstream had last."""
        return [each for each in self.headwater.upstream.requests if self.tenant in str(each.body)][-1]

    def row(self) -> Row:
        """The only one."""
        [row] = [row for row in ledger.select(self.headwater.database_url) if row.tenant == self.tenant]
        return row

    async def settled(self) -> Row:
        await until(lambda: self.row().settled_at)
        return self.row()

    def spent(self) -> list[Decimal]:
        """By the meters of its key and of its tenant."""
        rows = self.headwater.rows("SELECT spent FROM meters WHERE tenant = %s", self.tenant)
        return [spent for (spent,) in rows]

    async def completion(self) -> dict[str, Any]:
        completion: dict[str, Any] = (await self.client.get(f"/v1/completions/{self.row().completion_id}")).json()
        return completion


@pytest_asyncio.fixture(loop_scope="module")
async def caller(headwater: Headwater) -> AsyncIterator[Caller]:
    tenant = f"billed-{next(_numbers)}"
    async with headwater.client(headwater.service.admin_key) as admin:
        key = await make_key(admin, tenant=tenant)
    async with headwater.client(key) as client:
        yield Caller(headwater, client, tenant)


def counts(**some: int) -> dict[str, int]:
    return dict.fromkeys(COUNTS, 0) | some


def priced(row: Row) -> Decimal:
    return (Decimal(row.counts["input_tokens"]) + 5 * row.counts["output_tokens"]) / 1_000_000


async def assert_booked(caller: Caller, row: Row, expected: dict[str, int], *, estimated: bool) -> None:
    """So it stands in the ledger, on both meters and on the completion, and is priced."""
    assert (row.counts, row.estimated) == (expected, estimated)
    assert row.cost == priced(row)
    assert caller.spent() == [row.cost, row.cost]
    completion = await caller.completion()
    assert (completion["status"], Decimal(completion["cost"])) == (row.status, row.cost)
    assert completion["estimated"] is estimated
    [total] = (await caller.client.get("/v1/usage")).json()["data"]
    assert (total["completions"], total["open"], Decimal(total["cost"])) == (1, 0, row.cost)


async def assert_told(caller: Caller, row: Row) -> None:
    """As the upstream told in the end."""
    usage = caller.sent().usage
    assert usage is not None
    told = counts(input_tokens=usage["input_tokens"], output_tokens=usage["output_tokens"])
    await assert_booked(caller, row, told, estimated=False)


async def assert_cut(caller: Caller, row: Row) -> None:
    """The input as the upstream told in the beginning, and the output by what came of it."""
    usage = caller.sent().usage
    assert usage is not None
    written = (await caller.completion())["usage"]["output_tokens"]
    assert 1 <= written < 4_000
    await assert_booked(caller, row, counts(input_tokens=usage["input_tokens"], output_tokens=written), estimated=True)


async def assert_supposed(caller: Caller, row: Row) -> None:
    """Sent, and never heard of: as much input as was reserved."""
    assert row.reserved_input > 0
    await assert_booked(caller, row, counts(input_tokens=row.reserved_input), estimated=True)


async def assert_nothing(caller: Caller, row: Row) -> None:
    await assert_booked(caller, row, counts(), estimated=False)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "fields", "stop_reason"),
    [
        ("sim-ok?tokens=9", {}, "end_turn"),
        ("sim-ok?tokens=90", {"max_tokens": 5}, "max_tokens"),
        ("sim-ok?stop_reason=refusal", {}, "refusal"),
        ("sim-ok", {"stop_sequences": [" asked"]}, "stop_sequence"),
        ("sim-no-stop", {}, "end_turn"),
        ("sim-crlf", {}, "end_turn"),
        ("sim-one-read", {}, "end_turn"),
    ],
)
async def test_what_completed_is_booked_as_told(
    caller: Caller, fault: str, fields: dict[str, Any], stop_reason: str, stream: bool
) -> None:
    await caller.ask(fault, stream=stream, **{"max_tokens": 2_000, **fields})
    row = caller.row()
    assert (row.status, (await caller.completion())["stop_reason"]) == ("completed", stop_reason)
    await assert_told(caller, row)


async def test_what_is_not_stored_is_booked_all_the_same(caller: Caller) -> None:
    assert (await caller.ask("sim-ok?tokens=9", store=False)).status_code == 200
    assert (await caller.completion())["content"] is None
    await assert_told(caller, caller.row())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "fault", [*[f"sim-{status}" for status in (400, 401, 402, 403, 404, 409, 413, 429, 500, 529)], "sim-error-first"]
)
async def test_what_the_upstream_refused_costs_nothing(caller: Caller, fault: str, stream: bool) -> None:
    await caller.ask(fault, stream=stream)
    row = await caller.settled()
    assert row.status == "failed"
    await assert_nothing(caller, row)


@pytest.mark.parametrize("fault", ["sim-504", "sim-reset", "sim-cut-first", "sim-html", "sim-silence"])
async def test_what_broke_before_its_first_event_is_supposed_to_have_been_read(caller: Caller, fault: str) -> None:
    await caller.ask(fault)
    row = await caller.settled()
    assert row.status == "failed"
    await assert_supposed(caller, row)


@pytest.mark.parametrize(
    "fault",
    [
        "sim-error-mid",
        "sim-end-mid",
        "sim-cut-mid-event",
        "sim-cut-mid-character",
        "sim-malformed",
        "sim-bad-utf8",
        "sim-silence-mid",
    ],
)
@pytest.mark.parametrize("store", [True, False])
async def test_what_broke_later_is_booked_by_what_came(caller: Caller, fault: str, store: bool) -> None:
    await caller.ask(f"{fault}?after=8", store=store)
    row = await caller.settled()
    assert row.status == "failed"
    await assert_cut(caller, row)


async def test_a_break_behind_the_last_counts_is_no_estimate(caller: Caller) -> None:
    """All was told but the stop, and then Postgres refuses what it stopped with."""
    await caller.ask("sim-ok?tokens=9&stop_reason=end%00turn")
    row = await caller.settled()
    assert (row.status, (await caller.completion())["error"]["code"]) == ("failed", "unstorable")
    await assert_told(caller, row)


async def test_cancelled_before_its_first_event(caller: Caller) -> None:
    async with caller.streaming("sim-silence") as id:
        await caller.client.post(f"/v1/completions/{id}/cancel")
    row = await caller.settled()
    assert row.status == "cancelled"
    await assert_supposed(caller, row)


async def test_cancelled_in_the_middle(caller: Caller) -> None:
    async with caller.streaming("sim-endless?rate=50") as id:
        await caller.client.post(f"/v1/completions/{id}/cancel")
    row = await caller.settled()
    assert row.status == "cancelled"
    await assert_cut(caller, row)


async def test_cancelled_once_more(caller: Caller) -> None:
    async with caller.streaming("sim-endless?rate=50") as id:
        for _ in range(3):
            await caller.client.post(f"/v1/completions/{id}/cancel")
    await assert_cut(caller, await caller.settled())


async def test_what_was_stopped_before_it_was_sent_costs_nothing(caller: Caller) -> None:
    """The conversation holds what this key may not send, which is only known when it is admitted."""
    document = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    begun = {"messages": [{"role": "user", "content": [document]}]}
    conversation = (await caller.client.post("/v1/conversations", json=begun)).json()["id"]
    body = {"model": MODEL, "input": "Hello.", "max_tokens": 9, "conversation_id": conversation}
    assert (await caller.client.post("/v1/completions", json=body)).status_code == 403
    row = await caller.settled()
    assert (row.status, row.conversation_id) == ("failed", UUID(conversation))
    await assert_nothing(caller, row)


@pytest.mark.parametrize("gone", ["completion", "conversation"])
async def test_what_was_deleted_stays_in_the_ledger(caller: Caller, gone: str) -> None:
    conversation = (await caller.client.post("/v1/conversations", json={})).json()["id"]
    body = {"model": MODEL, "input": "Hello.", "max_tokens": 9, "conversation_id": conversation, "stream": False}
    completion = (await caller.client.post("/v1/completions", json=body)).json()
    before = caller.row()
    paths = [f"/v1/completions/{completion['id']}", f"/v1/conversations/{conversation}"]
    for path in paths[: 1 if gone == "completion" else 2]:
        assert (await caller.client.delete(path)).status_code == 204
    assert caller.row() == before
    assert before.cost == priced(before) > 0
    [total] = (await caller.client.get("/v1/usage", params={"conversation_id": conversation})).json()["data"]
    assert Decimal(total["cost"]) == before.cost


async def test_an_end_in_another_month_than_the_start(caller: Caller) -> None:
    """Budgets of a month count what ends in it; sums over a time, what began in it."""
    async with caller.streaming("sim-endless?rate=50") as id:
        caller.headwater.rows(
            "UPDATE meters SET spent = 7, spent_in_month = 7, month = date_trunc('month', now()) - interval '1 month'"
            " WHERE tenant = %s RETURNING tenant",
            caller.tenant,
        )
        caller.headwater.rows(
            "UPDATE ledger SET created_at = created_at - interval '1 month' WHERE tenant = %s RETURNING tenant",
            caller.tenant,
        )
        await caller.client.post(f"/v1/completions/{id}/cancel")
    row = await caller.settled()
    assert row.cost == priced(row) > 0
    meters = caller.headwater.rows(
        "SELECT spent, spent_in_month, month = date_trunc('month', now() AT TIME ZONE 'UTC') FROM meters"
        " WHERE tenant = %s",
        caller.tenant,
    )
    assert meters == [(7 + row.cost, row.cost, True)] * 2
    began = row.created_at.date().isoformat()
    [month] = (await caller.client.get("/v1/usage", params={"group_by": "day", "to": "2100-01-01"})).json()["data"]
    assert (month["day"], Decimal(month["cost"])) == (began, row.cost)
