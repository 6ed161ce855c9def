"""What only a function goes through: freezing, callers it does not see leave, deadlines, kills, many polls at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import httpx
import pytest

from local.aws_lambda.running import Lambda
from tests.runtimes.homes.results import MEASURED
from tests.runtimes.homes.streams import LONG, QUICK, body, read_all
from tests.runtimes.homes.targets import IMAGE, Home, Surroundings, beside_the_adapter, function, image
from tests.support.headwater import frames, until
from tests.support.postgres import Postgres

# Past it a connection is asked whether it still is one.
_SURELY_FROZEN = 1.2

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(params=["image", "command"])
def makes(request: pytest.FixtureRequest) -> Any:
    """The image, and the command beside the same adapter; either freezes in its own way."""
    return image(IMAGE) if request.param == "image" else beside_the_adapter()


@asynccontextmanager
async def running(makes: Any, around: Surroundings, **chosen: Any) -> AsyncIterator[tuple[Home, Lambda]]:
    async with function(makes, "url", **chosen)(around) as home:
        assert home.emulated is not None
        yield home, home.emulated


def rows(around: Surroundings, query: LiteralString, *parameters: Any) -> list[Any]:
    with Postgres.connect(around.database_url) as conn:
        return conn.execute(query, parameters).fetchall()


async def cut_connections_while_frozen(around: Surroundings) -> None:
    """Those of frozen environments, that is: a connection in use would be cut within its statement."""
    await asyncio.sleep(_SURELY_FROZEN)
    rows(
        around,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


async def test_fifty_invocations_one_after_another_over_cut_connections(
    makes: Any, around: Surroundings, record_property: Callable[[str, object], None]
) -> None:
    async with running(makes, around) as (home, emulated), home.client() as client:
        for turn in range(50):
            if turn % 10 == 9:
                await cut_connections_while_frozen(around)
            if turn % 2:
                assert (await client.get("/v1/completions", params={"limit": "1"})).status_code == 200
            else:
                assert (await read_all(client))[-1].data == "[DONE]"
        account = emulated.service.account
        assert len(account.inits) <= 3  # a request may come before the last environment is done with its own
        assert not account.failures
        record_property(MEASURED, f"{account.billed(emulated.service.function)} ms billed")


async def test_twenty_streams_at_once_over_frozen_environments(makes: Any, around: Surroundings) -> None:
    async with running(makes, around, memory=512) as (home, emulated), home.client() as client:
        for _ in range(2):  # on new environments, then on those that froze meanwhile
            streams = await asyncio.gather(*(read_all(client) for _ in range(20)))
            assert [events[-1].data for events in streams] == ["[DONE]"] * 20
            await cut_connections_while_frozen(around)
        assert not emulated.service.account.failures
        assert len(emulated.service.account.inits) < 30  # most were used again


async def test_a_caller_that_leaves_does_not_end_the_invocation(around: Surroundings) -> None:
    async with running(beside_the_adapter(), around) as (home, emulated), home.client() as client:
        account = emulated.service.account
        model = "sim-ok?tokens=40&rate=20&first_ms=0"
        async with client.stream("POST", "/v1/completions", json=body(model)) as response:
            id = response.headers["x-completion-id"]
        await until(lambda: max(account.invocations) > 1950)  # it took that long, and is billed
        assert (await client.get(f"/v1/completions/{id}")).json()["status"] == "completed"


async def test_a_stream_ends_before_the_functions_time(around: Surroundings) -> None:
    async with running(image(IMAGE), around, timeout=14) as (home, emulated), home.client() as client:
        *before, end = await read_all(client, LONG)
        assert (end.event, end.data["error"]["code"]) == ("error", "deadline")
        assert len(before) > 20
        assert not emulated.service.account.failures


async def test_a_killed_environment_is_told_to_the_next_reader(around: Surroundings) -> None:
    async with running(image(IMAGE), around) as (home, emulated), home.client() as client:
        id = await _lose(emulated, client)
        response = await client.get(f"/v1/completions/{id}/stream")
        *_, end = frames(response.text)
        assert (end.event, end.data["error"]["code"]) == ("error", "interrupted")
        assert _is_settled(around, id)


async def test_an_idle_function_settles_by_its_schedule(around: Surroundings) -> None:
    async with running(image(IMAGE), around) as (home, emulated), home.client() as client:
        id = await _lose(emulated, client)
        async with asyncio.timeout(30):
            while not _is_settled(around, id):
                await emulated.service.invoke({"headwater": "maintenance"}).answer.whole()
                await asyncio.sleep(0.2)
        assert rows(around, "SELECT status FROM completions WHERE id = %s", id) == [("interrupted",)]


async def _lose(emulated: Lambda, client: httpx.AsyncClient) -> str:
    """A completion whose environment is killed within its stream, which breaks."""
    async with client.stream("POST", "/v1/completions", json=body(LONG)) as response:
        chunks = response.aiter_bytes()
        await anext(chunks)
        [busy] = [each for each in emulated.service.environments if each.taken]
        await busy.end(gently=False)
        with pytest.raises(httpx.TransportError):
            [chunk async for chunk in chunks]
    id: str = response.headers["x-completion-id"]
    return id


def _is_settled(around: Surroundings, id: str) -> bool:
    return rows(around, "SELECT settled_at IS NOT NULL FROM ledger WHERE completion_id = %s", id) == [(True,)]


async def test_ten_streams_at_once_in_one_environment(makes: Any, around: Surroundings) -> None:
    """As on Managed Instances: several polls, one process."""
    chosen = {"concurrency": 10, "environments": 1}
    async with running(makes, around, **chosen) as (home, emulated), home.client() as client:
        await read_all(client, QUICK)
        begun = asyncio.get_running_loop().time()
        streams = await asyncio.gather(*(read_all(client, "sim-ok?tokens=40&rate=20&first_ms=0") for _ in range(10)))
        took = asyncio.get_running_loop().time() - begun
        assert [events[-1].data for events in streams] == ["[DONE]"] * 10
        assert took < 10  # one after another they would take twenty seconds
        assert len(emulated.service.account.inits) == 1
