"""Watching a batch: every change once and in order, from any instance, also behind a cut."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import httpx
import msgspec
import pytest
import pytest_asyncio

from tests.support.batches import PATH, Function, model, running_function
from tests.support.headwater import Frame, frames
from tests.support.on_lambda import of_caller
from tests.support.postgres import Postgres
from tests.support.service import StartService

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Function]:
    async with running_function(postgres, tmp_path_factory.mktemp("function"), instances=2, keepalive=0.3) as running:
        yield running


async def watched(client: httpx.AsyncClient, id: str, *, after: str | None = None, most: int = 10_000) -> list[Frame]:
    """The frames that come, up to so many; then the connection is cut."""
    headers = of_caller() | ({"last-event-id": after} if after else {})
    seen: list[Frame] = []
    async with client.stream("GET", f"{PATH}/{id}/stream", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                continue
            if line:
                fields[name] = value
            elif fields:
                seen.append(Frame(fields["event"], fields["id"], msgspec.json.decode(fields["data"])))
                fields = {}
                if len(seen) == most:
                    break
    return seen


def in_store(function: Function, id: str) -> list[Frame]:
    found = function.rows("SELECT type, seq, data FROM batch_events WHERE batch_id = %s ORDER BY seq", id)
    return [Frame(type, str(seq), msgspec.json.decode(data)) for type, seq, data in found]


async def test_every_change_once_from_two_instances_with_a_cut(function: Function) -> None:
    id = await function.create(*[model(tokens=5, rate=50) for _ in range(8)])
    async with asyncio.TaskGroup() as tasks:
        whole = tasks.create_task(watched(function.front, id))
        before = tasks.create_task(watched(function.worker, id, most=7))
        assert await function.run(id) == {"next": "end"}
        behind = tasks.create_task(watched(function.front, id, after=(await before)[-1].id))
    assert whole.result() == before.result() + behind.result() == in_store(function, id)
    assert [frame.id for frame in whole.result()] == [str(n) for n in range(1, 20)]
    last = whole.result()[-1]
    assert (last.event, last.data["status"], last.data["items"]["succeeded"]) == ("batch", "completed", 8)


async def test_behind_the_end_there_is_nothing(function: Function) -> None:
    id = await function.create(model(tokens=1))
    await function.run(id)
    last = in_store(function, id)[-1].id or ""
    path = f"{PATH}/{id}/stream"
    assert (await function.front.get(path, headers=of_caller() | {"last-event-id": last})).status_code == 204
    beyond = await function.front.get(path, params={"after": str(int(last) + 1)}, headers=of_caller())
    assert (beyond.status_code, beyond.json()["type"]) == (400, "/problems/position_beyond_end")
    rest = await function.front.get(path, params={"after": str(int(last) - 1)}, headers=of_caller())
    assert [frame.data["status"] for frame in frames(rest.text)] == ["completed"]


async def test_a_batch_that_is_tried_again_is_watched_on(function: Function) -> None:
    id = await function.create(model("500", times=1))
    await function.run(id)
    last = in_store(function, id)[-1].id
    await function.post(id, "retry")
    await function.run(id)
    assert [frame.data["status"] for frame in await watched(function.front, id, after=last)] == [
        "queued",
        "queued",
        "running",
        "running",
        "succeeded",
        "completed",
    ]


async def test_a_quiet_stream_shows_that_it_lives_and_ends_with_its_request(function: Function) -> None:
    id = await function.create(model())
    began = time.monotonic()
    response = await function.front.get(f"{PATH}/{id}/stream", headers=of_caller(12))  # 2 s before its last 10
    assert 1 < time.monotonic() - began < 8
    assert response.text.count(": keepalive\n\n") >= 3
    assert [frame.data["status"] for frame in frames(response.text)] == ["queued"]


async def test_all_that_is_watched_is_asked_for_in_one_query(function: Function) -> None:
    """However many watch: what the database is asked does not grow with them."""
    ids = [await function.create(model()) for _ in range(20)]

    async def asked() -> int:
        """In two seconds, the fewest of several: a connection tells what it was asked when it is used again."""
        counts = []
        for _ in range(5):
            before = _queries(function)
            await asyncio.sleep(2)
            counts.append(_queries(function) - before)
        return min(counts)

    idle = await asked()
    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(function.front.get(f"{PATH}/{id}/stream", headers=of_caller(22))) for id in ids]
        assert await asked() < idle + len(ids)  # each on its own would ask once a second
        for task in watching:
            task.cancel()


def _queries(function: Function) -> int:
    row = function.rows("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")[0]
    return int(row[0])


async def test_told_to_stop_a_service_ends_its_streams_cleanly(function: Function, start_service: StartService) -> None:
    service = await start_service(database_url=function.database_url)
    id = await function.create(model())
    async with (
        httpx.AsyncClient(base_url=service.url, headers=_key(function)) as client,
        client.stream("GET", f"{PATH}/{id}/stream") as response,
    ):
        chunks = response.aiter_text()
        assert "queued" in await anext(chunks)
        service.terminate()
        async for _ in chunks:
            pass
    assert await service.ended(10) == 0


def _key(function: Function) -> Mapping[str, str]:
    return {"authorization": function.front.headers["authorization"]}
