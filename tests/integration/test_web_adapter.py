"""Behind Lambda's web adapter: what its headers say is believed there, and nowhere else."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.headwater import frames
from tests.support.on_lambda import FUNCTION, SNAPSTART, invocation, of_caller, send_event
from tests.support.postgres import Postgres
from tests.support.service import Service, StartService

BODY = {"model": "sim-ok?tokens=2000&rate=20&first_ms=0", "input": "Hello.", "max_tokens": 4000}


@pytest.fixture
async def function(start_service: StartService) -> Service:
    return await start_service(environment=FUNCTION, home="lambda")


async def test_a_stream_ends_before_the_invocation_does(function: Service) -> None:
    async with function.client() as client:
        response = await client.post("/v1/completions", json=BODY, headers=of_caller(14))
        *before, end = frames(response.text)
        assert end.event == "error"
        assert end.data["error"]["code"] == "deadline"
        assert len(before) > 5
        stored = (await client.get(f"/v1/completions/{response.headers['x-completion-id']}")).json()
    assert (stored["status"], stored["error"]["code"]) == ("failed", "deadline")


async def test_an_answer_in_one_piece_is_given_up_before_the_invocation_ends(function: Service) -> None:
    async with function.client() as client:
        response = await client.post("/v1/messages", json=message_body(), headers=of_caller(14))
    assert response.status_code == 504
    assert response.json()["error"]["details"]["error_code"] == "deadline"


def message_body() -> dict[str, object]:
    messages = [{"role": "user", "content": "Hello."}]
    return {"model": BODY["model"], "max_tokens": 4000, "messages": messages}


async def test_a_reader_of_anothers_answer_is_told_from_where_to_read_on(
    function: Service, start_service: StartService
) -> None:
    other = await start_service()
    async with (
        other.client() as owner,
        function.client() as reader,
        owner.stream("POST", "/v1/completions", json=BODY) as running,
    ):
        path = f"/v1/completions/{running.headers['x-completion-id']}/stream"
        cut = await reader.get(path, headers=of_caller(9))  # readers stay for 5 s of its last 10
        *before, end = frames(cut.text)
        assert (end.event, end.data["error"]["code"], end.id) == ("error", "deadline", before[-1].id)
        async with reader.stream("GET", path, headers={"last-event-id": end.id or ""}) as rest:
            first = await anext(line async for line in rest.aiter_lines() if line.startswith("id:"))
    assert before[-1].id is not None
    assert first == f"id: {int(before[-1].id) + 1}"


async def test_nobody_outside_reaches_the_events(function: Service) -> None:
    async with function.client(function.admin_key) as client:
        event = {"headwater": "maintenance"}
        for headers in ({}, of_caller(), {**of_caller(), "x-headwater": "maintenance"}):
            response = await client.post("/events", json=event, headers=headers)
            assert response.status_code == 404, response.text


@pytest.mark.parametrize("environment", [{}, FUNCTION])
async def test_headers_of_the_adapter_mean_nothing_elsewhere(
    start_service: StartService, environment: dict[str, str]
) -> None:
    home = "lambda" if environment else "fargate"
    service = await start_service(home=home, environment=environment)
    async with service.client() as client:
        told = {} if environment else invocation(-100)
        for path in ("/_snapstart/before-checkpoint", "/_snapstart/after-restore"):
            assert (await client.post(path, headers=told)).status_code == 404
        if not environment:
            assert (await send_event(client, {"headwater": "maintenance"})).status_code == 404
            short = {**BODY, "model": "sim-ok?tokens=5&first_ms=0"}
            response = await client.post("/v1/completions", json=short, headers=told)
            assert frames(response.text)[-1].data == "[DONE]"


async def test_the_scheduled_maintenance_ends_what_a_killed_environment_left(
    function: Service, start_service: StartService, database_url: str
) -> None:
    lost = await start_service(home="lambda", environment=FUNCTION, lease=1)
    async with lost.client() as client, client.stream("POST", "/v1/completions", json=BODY) as running:
        lines = running.aiter_lines()
        await anext(lines)
        id = running.headers["x-completion-id"]
        lost.kill()
    async with function.client() as client:
        with Postgres.connect(database_url) as conn:
            query = "SELECT count(*) FROM completions WHERE id = %s AND status = 'interrupted'"
            async with asyncio.timeout(20):
                while conn.execute(query, [id]).fetchone() == (0,):
                    assert (await send_event(client, {"headwater": "maintenance"})).status_code == 200


async def test_an_event_that_nobody_knows_is_a_failed_invocation(function: Service) -> None:
    async with function.client() as client:
        events: list[Any] = [{"headwater": "nonsense"}, {"headwater": "run", "completion_id": "x"}, {}, []]
        for event in events:
            assert (await send_event(client, event)).status_code == 599


async def test_migrations_run_as_an_event(function: Service) -> None:
    async with function.client() as client:
        assert (await send_event(client, {"headwater": "migrate"})).status_code == 200


async def test_the_hooks_are_not_for_invocations(start_service: StartService) -> None:
    service = await start_service(home="lambda", environment=SNAPSTART)
    async with service.client() as client:
        for path in ("/_snapstart/before-checkpoint", "/_snapstart/after-restore"):
            assert (await client.post(path, headers=of_caller())).status_code == 404


async def test_a_restored_instance_is_another_one(start_service: StartService, database_url: str) -> None:
    service = await start_service(home="lambda", environment=SNAPSTART)
    async with service.client() as client:
        await complete(client)
        assert (await client.post("/_snapstart/before-checkpoint")).status_code == 200
        with Postgres.connect(database_url) as conn:
            others = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert conn.execute(others).fetchone() == (0,)
            assert (await client.post("/_snapstart/after-restore")).status_code == 200
            starts = [await complete(client) for _ in range(2)]
            owners = conn.execute("SELECT instance_id FROM completions ORDER BY id").fetchall()
    assert len(set(owners)) == 2
    assert starts == ["restored", "warm"]


async def complete(client: httpx.AsyncClient) -> str:
    """How the instance began, to this request."""
    body = {**BODY, "model": "sim-ok?tokens=1&first_ms=0"}
    response = await client.post("/v1/completions", json=body, headers=of_caller())
    assert frames(response.text)[-1].data == "[DONE]"
    return response.headers["server-timing"].rpartition("start;desc=")[2]
