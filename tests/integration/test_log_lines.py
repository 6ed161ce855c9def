"""One line for each request and each completion, with its own values, whoever else runs at the same time."""

import asyncio
import itertools
import json
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from app.domain.ids import uuid7
from app.observability.names import Metric
from local.upstream import SimulatedUpstream
from tests.support import log_lines
from tests.support.headwater import until
from tests.support.sent import Sent, ask, check_request, check_sent
from tests.support.service import Service, StartService, make_key

TENANTS: Final = 30
STREAMS: Final = 10
HOMES: Final = ["local", "fargate", "lambda"]


def platforms(home: str, number: int) -> tuple[dict[str, str], str | None]:
    """What the platform adds to a request, and the id that it thereby has."""
    trace = f"1-67891233-{number:024x}"
    match home:
        case "fargate":
            return {"x-amzn-trace-id": f"Self={trace};Root=1-67891233-{'a' * 24}"}, trace
        case "lambda":
            context = {"request_id": str(UUID(int=number)), "deadline": 1}
            return {"x-amzn-lambda-context": json.dumps(context)}, str(UUID(int=number))
    return {}, None


async def ask_on(home: str, client: httpx.AsyncClient, tenant: str, number: int) -> Sent:
    headers, id = platforms(home, number)
    sent = await ask(client.post, tenant, number, headers)
    if id is not None:
        assert sent.request_id == id
    return sent


async def of_tenant(service: Service, admin: httpx.AsyncClient, number: int, home: str) -> list[Sent]:
    tenant = f"tenant-{number}"
    async with service.client(await make_key(admin, tenant=tenant)) as client:
        numbers = range(number * STREAMS, (number + 1) * STREAMS)
        return await asyncio.gather(*(ask_on(home, client, tenant, each) for each in numbers))


@pytest.mark.parametrize("home", HOMES)
async def test_every_line_has_its_own_requests_values(
    start_service: StartService, upstream: SimulatedUpstream, home: str
) -> None:
    service = await start_service(home=home, emf=True)
    async with service.client(service.admin_key) as admin:
        per_tenant = await asyncio.gather(*(of_tenant(service, admin, each, home) for each in range(TENANTS)))
    sent = list(itertools.chain.from_iterable(per_tenant))
    assert len(sent) == TENANTS * STREAMS
    found = log_lines.lines(service.log)
    told = {request.body["model"]: request.usage for request in upstream.requests if request.usage}
    check_sent(found, sent, told)
    assert {line["instance"] for line in found if "instance" in line} == {found[0]["instance"]}


PLAIN: Final[dict[str, Any]] = {"model": "sim-ok?tokens=5&first_ms=0", "input": "Say something.", "max_tokens": 10}


async def test_a_process_that_stood_still_between_requests_mixes_nothing(start_service: StartService) -> None:
    service = await start_service(home="lambda")
    sent = []
    async with service.client() as client:
        for number in range(3):
            sent.append(await ask_on("lambda", client, "default", number))
            service.pause()
            await asyncio.sleep(0.1)  # as long as it likes: what was to be written is written
            found = log_lines.lines(service.log)
            [line] = [line for line in log_lines.requests(found) if line["request_id"] == sent[-1].request_id]
            check_request(line, sent[-1])
            assert log_lines.completions(found)[-1]["completion_id"] == sent[-1].completion_id
            service.resume()
    assert len({each.request_id for each in sent}) == 3


async def test_an_environment_starts_cold_once(start_service: StartService) -> None:
    service = await start_service(home="fargate")
    async with service.client() as client:
        for _ in range(3):
            assert (await client.post("/v1/completions", json=PLAIN)).status_code == 200
    found = log_lines.lines(service.log)
    assert [line["cold_start"] for line in found if line.get("message") == "instance started"] == [True]
    requests = log_lines.requests(found)
    assert [line["cold_start"] for line in requests].count(True) == 1
    # Whether it is ready was asked before, by nobody who waited.
    assert next(line for line in requests if line["cold_start"])["route"] == "/v1/keys"
    [metrics] = [line for line in found if Metric.COLD_START in line]
    assert (metrics["home"], log_lines.value(metrics, Metric.COLD_START)) == ("fargate", 1)


@pytest.mark.parametrize("kind", ["provisioned-concurrency", "snap-start"])
async def test_a_start_ahead_of_all_requests_is_not_cold(start_service: StartService, kind: str) -> None:
    service = await start_service(home="lambda", environment={"AWS_LAMBDA_INITIALIZATION_TYPE": kind})
    found = log_lines.lines(service.log)
    assert {line["init_type"] for line in found if "init_type" in line} == {kind}
    assert not [line for line in found if line.get("cold_start") or Metric.COLD_START in line]


async def test_a_resumed_reader_is_a_request_of_its_own(start_service: StartService) -> None:
    service = await start_service()
    async with service.client() as client:
        made = (await client.post("/v1/completions", json=PLAIN)).headers["x-completion-id"]
        await client.get(f"/v1/completions/{made}/stream", params={"after": 2, "dialect": "ui_message"})
    first, again = [line for line in log_lines.requests(log_lines.lines(service.log)) if "completion_id" in line]
    assert "resumed" not in first
    assert (again["completion_id"], again["resumed"], again["dialect"]) == (made, True, "ui_message")
    assert again["request_id"] != first["request_id"]
    assert again["route"] == "/v1/completions/{completion_id}/stream"


async def test_readers_that_come_later_are_counted(start_service: StartService) -> None:
    service = await start_service()
    slow = {**PLAIN, "model": "sim-ok?tokens=40&rate=40&first_ms=0", "max_tokens": 100}
    async with service.client() as client, client.stream("POST", "/v1/completions", json=slow) as first:
        stream = f"/v1/completions/{first.headers['x-completion-id']}/stream"
        await asyncio.gather(client.get(stream), client.get(stream))
        await first.aread()
    [line] = log_lines.completions(log_lines.lines(service.log))
    assert (line["readers"], line["resumes"]) == (3, 2)


@pytest.mark.parametrize(
    ("model", "status", "error"),
    [
        ("sim-529", "failed", "upstream_overloaded"),
        ("sim-cut-mid-event?after=5", "failed", "upstream_connection"),
        ("sim-error-mid?after=5", "failed", "upstream_overloaded"),
    ],
)
async def test_how_it_ended_is_told(start_service: StartService, model: str, status: str, error: str) -> None:
    service = await start_service(max_retries=0)
    async with service.client() as client:
        await client.post("/v1/completions", json={**PLAIN, "model": model})
    [line] = log_lines.completions(log_lines.lines(service.log))
    assert (line["status"], line["error"]) == (status, error)


async def test_a_completion_of_a_lost_instance_is_told_by_whoever_finds_it(start_service: StartService) -> None:
    lost = await start_service(lease=1, control_tick=0.3)
    finder = await start_service(lease=1, control_tick=0.3, maintenance_interval=600, emf=True, metrics_interval=0.2)
    slow = {**PLAIN, "model": "sim-ok?tokens=1000&rate=20&first_ms=0", "max_tokens": 1000}
    async with lost.client(lost.admin_key) as admin:
        theirs, others = await make_key(admin, tenant="theirs"), await make_key(admin, tenant="others")
    async with lost.client(theirs) as client, client.stream("POST", "/v1/completions", json=slow) as response:
        await anext(response.aiter_bytes())
        id = response.headers["x-completion-id"]
        lost.kill()
    async with finder.client(theirs) as client:

        async def ended() -> bool:
            return bool((await client.get(f"/v1/completions/{id}")).json()["status"] == "interrupted")

        async with asyncio.timeout(20):
            while not await ended():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
    async with finder.client(others) as client:
        await client.get("/v1/completions")
    found = log_lines.lines(finder.log)
    [line] = log_lines.completions(found)
    assert (line["completion_id"], line["tenant"], line["status"]) == (id, "theirs", "interrupted")
    # It is nobody's request that found it.
    assert "request_id" not in line
    await until(
        lambda: (
            sum(
                log_lines.value(line, Metric.INTERRUPTIONS)
                for line in log_lines.metrics(log_lines.lines(finder.log), "home")
                if Metric.INTERRUPTIONS in line
            )
            == 1
        )
    )


async def test_livez_is_not_logged(start_service: StartService) -> None:
    service = await start_service()
    async with service.client() as client:
        await client.get("/livez")
        await client.get(f"/nowhere/{uuid7()}")
    routes = [line["route"] for line in log_lines.requests(log_lines.lines(service.log))]
    assert "/livez" not in routes
    assert routes[-1] == "none"
