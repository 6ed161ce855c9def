"""Numbers of instances: told once a minute in CloudWatch's form, and in Prometheus' to whoever has the key."""

import asyncio
from typing import Any, Final

import httpx
import pytest

from app.observability.names import Metric
from tests.support import log_lines
from tests.support.headwater import until
from tests.support.log_lines import Line
from tests.support.on_lambda import FUNCTION, SNAPSTART, of_caller
from tests.support.service import Service, StartService, make_key

PLAIN: Final[dict[str, Any]] = {"model": "claude-haiku-4-5", "input": "Say something.", "max_tokens": 10}
SLOW: Final[dict[str, Any]] = {**PLAIN, "model": "sim-ok?tokens=1000&rate=20&first_ms=0", "max_tokens": 1000}
OF_INSTANCE: Final = {
    Metric.OPEN_STREAMS,
    Metric.RECORDER_LAG,
    Metric.RECORDER_BACKLOG,
    Metric.FOLLOWER_LAG,
    Metric.DATABASE_WAIT,
    Metric.POOL_IN_USE,
    Metric.ADMISSIONS_REFUSED,
    Metric.UPSTREAM_ERRORS,
    Metric.RESUMES,
    Metric.INTERRUPTIONS,
}


def minutes(service: Service) -> list[Line]:
    return [line for line in log_lines.metrics(log_lines.lines(service.log), "home") if Metric.OPEN_STREAMS in line]


def total(service: Service, metric: Metric) -> float:
    return sum(log_lines.value(line, metric) for line in minutes(service))


def by(service: Service, metric: Metric, dimension: str) -> dict[str, float]:
    """What was counted, by what it was."""
    counted: dict[str, float] = {}
    for line in log_lines.metrics(log_lines.lines(service.log), "home", dimension):
        counted[line[dimension]] = counted.get(line[dimension], 0) + log_lines.value(line, metric)
    return counted


async def test_an_instance_tells_how_it_is_doing(start_service: StartService) -> None:
    service = await start_service(home="fargate", metrics_interval=0.3)
    async with service.client() as client, client.stream("POST", "/v1/completions", json=SLOW) as response:
        await until(lambda: minutes(service) and log_lines.value(minutes(service)[-1], Metric.OPEN_STREAMS) == 1)
        await client.post(f"/v1/completions/{response.headers['x-completion-id']}/cancel")
    await until(lambda: log_lines.value(minutes(service)[-1], Metric.OPEN_STREAMS) == 0)
    assert all(OF_INSTANCE.issubset(line) for line in minutes(service))
    assert {line["home"] for line in minutes(service)} == {"fargate"}
    assert max(log_lines.value(line, Metric.RECORDER_LAG) for line in minutes(service)) > 0
    assert 0 < max(log_lines.value(line, Metric.POOL_IN_USE) for line in minutes(service)) <= 5


async def test_what_is_refused_is_told_by_its_reason(start_service: StartService) -> None:
    service = await start_service(emf=True, metrics_interval=0.2, max_streams=1)
    async with service.client(service.admin_key) as admin:
        limited = await make_key(admin, limits={"requests_per_minute": 0})
    async with service.client(limited) as client:
        for _ in range(2):
            assert (await client.post("/v1/completions", json=PLAIN)).status_code == 429
    async with service.client() as client, client.stream("POST", "/v1/completions", json=SLOW):
        assert (await client.post("/v1/messages", json=message())).status_code == 503
    reasons = {"requests_limited": 2, "full": 1, "not_found": 1}  # the last is the tests' own, to warm it up
    await until(lambda: by(service, Metric.ADMISSIONS_REFUSED, "reason") == reasons)
    assert total(service, Metric.ADMISSIONS_REFUSED) == 4


def message() -> dict[str, Any]:
    return {"model": PLAIN["model"], "max_tokens": 10, "messages": [{"role": "user", "content": "Say something."}]}


async def test_each_try_that_the_upstream_refuses_is_told_by_its_kind(start_service: StartService) -> None:
    service = await start_service(emf=True, metrics_interval=0.2, max_retries=2)
    async with service.client() as client:
        await client.post("/v1/completions", json={**PLAIN, "model": "sim-529"})
        await client.post("/v1/completions", json={**PLAIN, "model": "sim-error-mid?after=3"})
    # Three tries of the first; and one that broke off.
    await until(lambda: by(service, Metric.UPSTREAM_ERRORS, "kind") == {"upstream_overloaded": 4})
    assert total(service, Metric.UPSTREAM_ERRORS) == 4


async def test_readers_of_another_instances_log_are_told(start_service: StartService) -> None:
    owner = await start_service()
    service = await start_service(emf=True, metrics_interval=0.2)
    async with owner.client() as client, client.stream("POST", "/v1/completions", json=SLOW) as response:
        stream = f"/v1/completions/{response.headers['x-completion-id']}/stream"
        async with service.client(owner.key) as reader, reader.stream("GET", stream):
            await until(lambda: any(log_lines.value(line, Metric.FOLLOWER_LAG) > 50 for line in minutes(service)))
    assert total(service, Metric.RESUMES) == 1


async def test_nothing_is_told_at_home_unless_asked_for(start_service: StartService) -> None:
    service = await start_service(metrics_interval=0.1)
    async with service.client() as client:
        await client.post("/v1/completions", json=PLAIN)
    assert not [line for line in log_lines.lines(service.log) if log_lines.is_metrics(line)]


async def test_a_log_of_warnings_alone_has_all_metrics(start_service: StartService) -> None:
    service = await start_service(home="fargate", log_level="WARNING")
    async with service.client() as client:
        await client.post("/v1/completions", json=PLAIN)
    assert len(log_lines.metrics(log_lines.lines(service.log), "home", "dialect", "model")) == 1
    assert not log_lines.requests(log_lines.lines(service.log))


async def test_where_processes_are_frozen_each_request_tells_what_it_has_counted(start_service: StartService) -> None:
    service = await start_service(environment=FUNCTION, home="lambda")
    async with service.client() as client:
        made = await client.post("/v1/completions", json=PLAIN, headers=of_caller())
        before = len(minutes(service))
        await client.get(f"/v1/completions/{made.headers['x-completion-id']}/stream", headers=of_caller())
        # By then the answer's last byte was not sent, nor is the process frozen before it.
        assert len(minutes(service)) == before + 1
        assert log_lines.value(minutes(service)[-1], Metric.RESUMES) == 1
        await client.get("/v1/completions", headers=of_caller())
        assert len(minutes(service)) == before + 1


async def test_a_restore_is_told_as_a_restore(start_service: StartService) -> None:
    service = await start_service(environment=SNAPSTART, home="lambda")
    async with httpx.AsyncClient(base_url=service.url) as adapter:
        assert (await adapter.post("/_snapstart/before-checkpoint")).status_code == 200
        assert (await adapter.post("/_snapstart/after-restore")).status_code == 200
    async with service.client() as client:
        assert (await client.post("/v1/completions", json=PLAIN, headers=of_caller())).status_code == 200
    found = log_lines.lines(service.log)
    assert [line["message"] for line in found if line.get("message", "").startswith("instance")] == [
        "instance started",
        "instance restored",
    ]
    assert not [line for line in found if line.get("cold_start") or Metric.COLD_START in line]
    [restored] = [line for line in found if Metric.RESTORE_TIME in line]
    assert log_lines.value(restored, Metric.RESTORE_TIME) > 0
    # It is another instance from then on.
    before, after = [line["instance"] for line in found if line.get("message", "").startswith("instance")]
    assert before != after
    assert log_lines.requests(found)[-1]["instance"] == after


@pytest.fixture
async def scraped(start_service: StartService) -> Service:
    return await start_service(metrics_key="the-key-of-the-metrics")


async def scrape(service: Service, key: str) -> httpx.Response:
    async with service.client(key) as client:
        return await client.get("/metrics")


async def test_prometheus_gets_the_same_numbers(scraped: Service) -> None:
    async with scraped.client() as client:
        made = await client.post("/v1/completions", json=PLAIN)
        await client.get(f"/v1/completions/{made.headers['x-completion-id']}/stream")
        await client.post("/v1/completions", json={**PLAIN, "model": "sim-401"})
    page = await scrape(scraped, "the-key-of-the-metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))
    of_completion = '{dialect="plain",model="claude-haiku"}'
    [line] = [
        line for line in log_lines.completions(log_lines.lines(scraped.log)) if line["status"] == "completed"
    ]  # fmt: skip
    assert float(samples[f"headwater_time_to_first_token_seconds_count{of_completion}"]) == 1
    assert float(samples[f"headwater_time_to_first_token_seconds_sum{of_completion}"]) == pytest.approx(
        line["ttft_ms"] / 1000
    )
    assert float(samples[f"headwater_output_tokens_total{of_completion}"]) == line["output_tokens"] == 10
    assert float(samples[f"headwater_cost_dollars_total{of_completion}"]) == pytest.approx(line["cost"])
    assert float(samples["headwater_open_streams"]) == 0
    assert float(samples["headwater_resumes_total"]) == 1
    assert float(samples['headwater_upstream_errors_total{kind="upstream_credentials"}']) == 1
    assert float(samples["headwater_database_requests_total"]) > 0


async def test_metrics_need_their_key(scraped: Service) -> None:
    for key in (scraped.key, "the-key-of-the-metric"):
        assert (await scrape(scraped, key)).status_code == 401
    async with httpx.AsyncClient(base_url=scraped.url) as nobody:
        assert (await nobody.get("/metrics")).status_code == 401


async def test_without_a_key_there_are_no_metrics(start_service: StartService) -> None:
    service = await start_service()
    assert (await scrape(service, service.admin_key)).status_code == 404


async def test_hundreds_at_once_are_counted_once_each(start_service: StartService) -> None:
    service = await start_service(emf=True, metrics_interval=0.2, metrics_key="the-key-of-the-metrics")
    async with service.client() as client:
        answers = await asyncio.gather(*(client.post("/v1/completions", json=PLAIN) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    told = log_lines.metrics(log_lines.lines(service.log), "home", "dialect", "model")
    assert len(told) == 200
    page = await scrape(service, "the-key-of-the-metrics")
    assert 'headwater_stream_duration_seconds_count{dialect="plain",model="claude-haiku"} 200.0' in page.text
