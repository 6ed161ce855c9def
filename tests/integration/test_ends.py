"""The tables of docs/ends.md: every end in every dialect, streamed, in one piece and asked for later."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import product
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from local.upstream import SimulatedUpstream
from tests.conftest import LOGS
from tests.support.dialects import DIALECTS, RESPONSES, Dialect, Told, Way
from tests.support.headwater import Headwater, until
from tests.support.postgres import Postgres
from tests.support.responses import ended
from tests.support.service import ROOT, Service, Services

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("ends"),  # or every worker would play all cases
    pytest.mark.timeout(180),  # the first test waits until they are played
]

LONG = "sim-ok?rate=20&tokens=2000&first_ms=0"
MODELS = {
    "completed": "sim-ok?tokens=8",
    "max_tokens": "sim-ok?tokens=8&stop_reason=max_tokens",
    "refusal": "sim-ok?tokens=8&stop_reason=refusal",
    "failed before its first event": "sim-500?rate=0",
    "failed after it": "sim-cut-mid-event?tokens=8",
    "cancelled": LONG,
    "interrupted": LONG,
}
PATIENCE = 40

Row = list[tuple[str, ...]]


def table(heading: str) -> dict[str, Row]:
    """The words of code in each cell, by the row's name."""
    page = (ROOT / "docs/ends.md").read_text()
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {name: [tuple(re.findall("`(.+?)`", cell)) for cell in cells] for name, *cells in lines[2:]}


STREAMED, IN_ONE_PIECE, LATER = table("Streamed"), table("In one piece"), table("Asked for later")


class Case(NamedTuple):
    end: str
    dialect: Dialect
    way: Way
    killed: bool = False

    @property
    def model(self) -> str:
        how = "killed" if self.killed else self.end.replace(" ", "-")
        return f"{MODELS[self.end]}&key={how}-{self.dialect.name}-{self.way}"

    @property
    def documented(self) -> tuple[str, ...]:
        if self.way == "polled":
            return LATER[self.end][1]
        return (STREAMED if self.way == "stream" else IN_ONE_PIECE)[self.end][DIALECTS.index(self.dialect)]

    def __str__(self) -> str:
        return f"{self.end}-{self.dialect.name}-{self.way}"


ALL = [Case(end, dialect, way) for end, dialect in product(MODELS, DIALECTS) for way in dialect.ways]


class Fleet:
    """Instances on one database: `steady` stays, others are sent away."""

    def __init__(self, services: Services, steady: Headwater) -> None:
        self.services = services
        self.steady = steady

    async def begun(self, case: Case) -> str:
        """The id of a completion of which something is recorded."""
        query = """
            SELECT c.id::text FROM completions c JOIN completion_events e ON e.completion_id = c.id
            WHERE c.model = %s AND e.last_seq > 5
        """
        await until(lambda: self.steady.rows(query, case.model), PATIENCE)
        id: str = self.steady.rows(query, case.model)[0][0]
        return id

    def id(self, case: Case) -> str:
        ((id,),) = self.steady.rows("SELECT id::text FROM completions WHERE model = %s", case.model)
        return str(id)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    folder, database_url = tmp_path_factory.mktemp("fleet"), postgres.create_database()
    async with AsyncExitStack() as stack:
        stack.callback(postgres.drop_database, database_url)
        upstream = await stack.enter_async_context(SimulatedUpstream())
        services = Services(folder, database_url, upstream.url)
        stack.callback(services.end)
        steady = await services.start(max_retries=0, peek_timeout=30)
        yield Fleet(services, Headwater(steady, upstream, database_url, folder))


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, fleet: Fleet) -> None:
    request.node.stash[LOGS] = fleet.steady.folder


async def play(service: Service, case: Case, key: str) -> httpx.Response:
    async with service.client(key, timeout=PATIENCE) as client:
        return await case.dialect.ask(client, case.model, case.way)


async def play_and_cancel(fleet: Fleet, case: Case) -> httpx.Response:
    async with fleet.steady.client() as client, asyncio.TaskGroup() as group:
        asked = group.create_task(play(fleet.steady.service, case, fleet.steady.service.key))
        await client.post(f"/v1/completions/{await fleet.begun(case)}/cancel")
    return asked.result()


async def play_and_drain(fleet: Fleet, cases: list[Case]) -> list[httpx.Response]:
    draining = await fleet.services.start(drain_grace=0.3)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(play(draining, case, fleet.steady.service.key)) for case in cases]
        for case in cases:
            await fleet.begun(case)
        draining.terminate()
    assert await draining.ended() == 0
    return [each.result() for each in asked]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def responses(fleet: Fleet) -> dict[Case, httpx.Response]:
    """What each case was answered, once all of them have ended."""
    steady = fleet.steady.service
    drained = [case for case in ALL if case.end == "interrupted"]
    quick = [case for case in ALL if case.end not in ("cancelled", "interrupted")]
    cancelled = [case for case in ALL if case.end == "cancelled"]
    found = await asyncio.gather(*[play(steady, case, steady.key) for case in quick])
    found += await asyncio.gather(*[play_and_cancel(fleet, case) for case in cancelled])
    found += await play_and_drain(fleet, drained)
    return dict(zip([*quick, *cancelled, *drained], found, strict=True))


async def later(fleet: Fleet, id: str) -> tuple[tuple[str, ...], Told]:
    """What the native API and that of Responses say of it."""
    async with fleet.steady.client() as client:
        response = await ended(client, f"resp_{id}", PATIENCE)
        completion: dict[str, Any] = (await client.get(f"/v1/completions/{id}")).json()
    why = completion["error"]["code"] if completion["error"] else completion["stop_reason"]
    return (completion["status"], why), RESPONSES.polled(response)


async def test_the_tables_have_the_same_ends() -> None:
    assert list(STREAMED) == list(IN_ONE_PIECE) == list(LATER) == list(MODELS)


@pytest.mark.parametrize("rows", [STREAMED, IN_ONE_PIECE, LATER], ids=["streamed", "in one piece", "later"])
async def test_no_two_ends_are_told_alike(rows: dict[str, Row]) -> None:
    """In no dialect: least of all a cut answer as if it were whole."""
    for column in zip(*rows.values(), strict=True):
        assert all(column)
        assert len(set(column)) == len(rows)


@pytest.mark.parametrize("case", ALL, ids=str)
async def test_end(fleet: Fleet, responses: dict[Case, httpx.Response], case: Case) -> None:
    native, told = await later(fleet, fleet.id(case))
    assert [native, told.end] == LATER[case.end]

    response = responses[case]
    if case.way == "polled":
        assert response.json()["status"] == "queued"
        return
    told = case.dialect.told(response)
    assert told.end == case.documented
    assert response.headers.get("x-should-retry") == ("false" if told.end == ("409", "cancelled") else None)
    if response.status_code == 200:
        assert told.text


async def test_killed(fleet: Fleet) -> None:
    """Connections break; whoever reads on elsewhere hears of it, in every dialect."""
    doomed = await fleet.services.start(lease=2, control_tick=0.3)
    ways = [(dialect, way) for dialect in DIALECTS for way in dialect.ways if way != "polled"]
    cases = [Case("interrupted", dialect, way, killed=True) for dialect, way in ways]
    key = fleet.steady.service.key
    asked = asyncio.gather(*[play(doomed, case, key) for case in cases], return_exceptions=True)
    ids = [await fleet.begun(case) for case in cases]
    doomed.kill()
    assert {type(each) for each in await asked} <= {httpx.RemoteProtocolError, httpx.ReadError}

    async with fleet.steady.client(timeout=PATIENCE) as client:
        for case, id in zip(cases, ids, strict=True):
            read = await client.get(f"/v1/completions/{id}/stream", params={"dialect": case.dialect.stored})
            told = case.dialect.told(read)
            assert told.end == STREAMED["interrupted"][DIALECTS.index(case.dialect)]
            assert told.text
            native, response = await later(fleet, id)
            assert [native, response.end] == LATER["interrupted"]
            assert response.text == told.text
