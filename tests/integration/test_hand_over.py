"""On a home that freezes: what nobody waits for is produced by another invocation, once."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from local.upstream import SimulatedUpstream
from tests.support.aws import Aws, running_aws
from tests.support.on_lambda import FUNCTION, of_caller, send_event
from tests.support.postgres import Postgres
from tests.support.responses import PATH, ended, read_on, retrieved
from tests.support.service import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count()
OPEN = "SELECT count(*) FROM handed_over"


def of(**body: Any) -> dict[str, Any]:
    """A request for a response in the background, of a model of its own."""
    return {"model": model(), "input": "Hello.", "background": True} | body


def model(tokens: int = 20) -> str:
    return f"sim-ok?tokens={tokens}&rate=20&first_ms=0&key=h{next(_numbers)}"


@dataclass
class Home:
    """`front` answers requests, `worker` is what its function's asynchronous invocations reach."""

    front: httpx.AsyncClient
    worker: httpx.AsyncClient
    aws: Aws
    upstream: SimulatedUpstream
    database_url: str

    async def create(self, **body: Any) -> dict[str, Any]:
        response = await self.front.post(PATH, json=of(**body), headers=of_caller())
        assert response.status_code == 200, response.text
        created: dict[str, Any] = response.json()
        return created

    async def deliver(self, seconds: float = 60) -> httpx.Response:
        """The last event that was queued."""
        return await send_event(self.worker, self.aws.invoked[-1], seconds)

    def count(self, query: LiteralString, *parameters: Any) -> int:
        with Postgres.connect(self.database_url) as conn:
            row = conn.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0])

    def asked(self, model: str) -> list[dict[str, Any]]:
        """What the upstream was asked with this model."""
        return [body for each in self.upstream.requests if (body := each.body or {}).get("model") == model]

    async def leaves(self, id: str, status: str) -> dict[str, Any]:
        """The response as it is once it has not this status any more."""
        async with asyncio.timeout(20):
            while (state := await retrieved(self.front, id))["status"] == status:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        return state


@asynccontextmanager
async def running_home(postgres: Postgres, folder: Path, **settings: Any) -> AsyncIterator[Home]:
    database_url = postgres.create_database()
    try:
        with running_aws() as aws:
            async with SimulatedUpstream() as upstream:
                services = Services(folder, database_url, upstream.url)
                chosen: dict[str, Any] = {
                    "home": "lambda",
                    "background_function": "headwater-stream:live",
                    "control_tick": 0.3,
                }
                start = partial(services.start, environment=FUNCTION | aws.environment, **chosen, **settings)
                try:
                    front, worker = await start(), await start()
                    async with front.client() as one, worker.client() as other:
                        yield Home(one, other, aws, upstream, database_url)
                finally:
                    services.end()
    finally:
        postgres.drop_database(database_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with running_home(postgres, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Where what was handed over has to begin at once."""
    async with running_home(postgres, tmp_path_factory.mktemp("impatient"), background_patience=1) as running:
        yield running


async def test_another_invocation_produces_it(home: Home) -> None:
    queued = await home.create()
    assert queued["status"] == "queued"
    completion = str(UUID(queued["id"].removeprefix("resp_")))
    assert home.aws.invoked[-1] == {"headwater": "run", "completion_id": completion}
    assert home.aws.calls["credentials"] == 1  # those of the container
    assert (await retrieved(home.front, queued["id"]))["status"] == "queued"
    assert (await home.deliver()).status_code == 200
    # The invocation lasted until all was committed.
    assert (await retrieved(home.front, queued["id"]))["status"] == "completed"
    events = await read_on(home.front, queued["id"])
    assert events[-1].event == "response.completed"
    assert home.count(OPEN) == 0


async def test_delivered_several_times_it_is_produced_once(home: Home) -> None:
    queued = await home.create(model=(asked := model()))
    event = home.aws.invoked[-1]
    delivered = await asyncio.gather(home.deliver(), home.deliver(), send_event(home.front, event))
    assert [response.status_code for response in delivered] == [200, 200, 200]
    assert (await ended(home.front, queued["id"]))["status"] == "completed"
    assert (await home.deliver()).status_code == 200
    assert len(home.asked(asked)) == 1


async def test_begun_although_the_invocations_own_answer_was_lost(home: Home) -> None:
    before = len(home.aws.invoked)
    home.aws.delivered = threading.Event()
    try:
        creating = asyncio.get_running_loop().create_task(home.create(model=(asked := model())))
        async with asyncio.timeout(20):
            while len(home.aws.invoked) == before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert (await home.deliver()).status_code == 200
        home.aws.delivered.set()
        queued = await creating
    finally:
        home.aws.delivered = None
    assert (await ended(home.front, queued["id"]))["status"] == "completed"
    assert len(home.asked(asked)) == 1


async def test_a_stream_of_it_is_read_while_it_is_produced(home: Home) -> None:
    async with home.front.stream("POST", PATH, json=of(stream=True), headers=of_caller()) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "event: response.created"
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(home.deliver())
            seen = [line async for line in lines]
    assert seen.index("event: response.output_text.delta") < seen.index("event: response.completed")
    assert running.result().status_code == 200


async def test_never_begun_it_is_interrupted(impatient: Home) -> None:
    queued = await impatient.create()
    state = await impatient.leaves(queued["id"], "queued")
    assert (state["status"], state["error"]["type"]) == ("failed", "interrupted")
    assert impatient.count(OPEN) == 0
    assert impatient.count("SELECT count(*) FROM ledger WHERE settled_at IS NULL") == 0
    assert (await impatient.deliver()).status_code == 200  # too late, and nothing happens
    assert (await retrieved(impatient.front, queued["id"]))["status"] == "failed"


async def test_never_begun_and_never_asked_for_the_scheduled_maintenance_ends_it(impatient: Home) -> None:
    queued = await impatient.create()
    id = UUID(queued["id"].removeprefix("resp_"))
    async with asyncio.timeout(20):
        while impatient.count("SELECT count(*) FROM completions WHERE id = %s AND status = 'interrupted'", id) == 0:
            assert (await send_event(impatient.worker, {"headwater": "maintenance"})).status_code == 200


async def test_cancelled_before_it_begins_it_never_does(home: Home) -> None:
    queued = await home.create(model=(asked := model()))
    cancelled = await home.front.post(f"{PATH}/{queued['id']}/cancel", headers=of_caller())
    assert cancelled.json()["status"] == "cancelled"
    assert (await home.deliver()).status_code == 200
    assert home.asked(asked) == []


async def test_cancelled_while_it_runs_it_ends(home: Home) -> None:
    queued = await home.create(model=model(tokens=2000))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(home.deliver())
        await home.leaves(queued["id"], "queued")
        await home.front.post(f"{PATH}/{queued['id']}/cancel", headers=of_caller())
    assert running.result().status_code == 200
    assert (await retrieved(home.front, queued["id"]))["status"] == "cancelled"


async def test_it_ends_before_the_invocation_does(home: Home) -> None:
    queued = await home.create(model=model(tokens=2000))
    assert (await home.deliver(seconds=11)).status_code == 200
    state = await retrieved(home.front, queued["id"])
    assert (state["status"], state["error"]["type"]) == ("failed", "deadline")


async def test_what_cannot_be_queued_is_refused_and_may_be_sent_again(home: Home) -> None:
    body = of()
    headers = of_caller() | {"idempotency-key": "once"}
    home.aws.refused.add("Invoke")
    refused = await home.front.post(PATH, json=body, headers=headers)
    home.aws.refused.clear()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    again = await home.front.post(PATH, json=body, headers=headers)
    assert again.json()["status"] == "queued"
    assert "idempotent-replayed" not in again.headers
    invoked = len(home.aws.invoked)
    repeated = await home.front.post(PATH, json=body, headers=headers)
    assert (repeated.json()["id"], repeated.headers["idempotent-replayed"]) == (again.json()["id"], "true")
    assert len(home.aws.invoked) == invoked


async def test_it_goes_on_from_a_conversation(home: Home) -> None:
    conversation = (await home.front.post("/v1/conversations", json={"system": "Be kind."})).json()["id"]
    await home.create(conversation=conversation, input="One")
    busy = await home.front.post(PATH, json=of(conversation=conversation), headers=of_caller())
    assert busy.status_code == 409
    await home.deliver()
    await home.create(conversation=conversation, input="Two", model=(asked := model()))
    await home.deliver()
    [body] = home.asked(asked)
    assert body["system"] == "Be kind."
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


async def test_it_goes_on_from_a_chain(home: Home) -> None:
    first = await home.create()
    await home.deliver()
    await home.create(input="Four", previous_response_id=first["id"], model=(asked := model()))
    await home.deliver()
    [body] = home.asked(asked)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
