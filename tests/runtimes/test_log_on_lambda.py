"""The log and the traces of functions, whose processes stand still between requests."""

import asyncio
import json
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.observability.names import Metric
from local.aws_lambda.function import Function
from local.aws_lambda.running import running_lambda
from local.aws_lambda.sandbox import Commands
from local.upstream import SimulatedUpstream
from tests.support import log_lines
from tests.support.headwater import until
from tests.support.log_lines import Line
from tests.support.service import ADMIN_KEY, make_key

TENANTS: Final = 6
REQUESTS: Final = 4
ENVIRONMENTS: Final = 3
# Starts of several at once on a busy machine.
START: Final = 90.0
ADAPTER: Final[Sequence[Sequence[str]]] = (
    [sys.executable, "-m", "local.aws_lambda.stand_in_adapter"],
    [sys.executable, "-m", "app"],
)
HANDLER: Final[Sequence[Sequence[str]]] = (
    [sys.executable, "-m", "awslambdaric", "app.entrypoints.lambda_handler.handler"],
)


@dataclass
class Running:
    url: str
    log: Path

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=START)

    def lines(self) -> list[Line]:
        """Those of the application: the runtime has its own beside them."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@asynccontextmanager
async def function(
    commands: Sequence[Sequence[str]], folder: Path, database_url: str, upstream: str, **variables: str
) -> AsyncIterator[Running]:
    environment = {
        "AWS_LWA_INVOKE_MODE": "response_stream",
        "AWS_LWA_READINESS_CHECK_PATH": "/livez",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "HEADWATER_HOME": "lambda",
        "HEADWATER_ADMIN_KEY": ADMIN_KEY,
        "DATABASE_URL": database_url,
        "ANTHROPIC_BASE_URL": upstream,
        "ANTHROPIC_API_KEY": "the-upstreams-own-key",
        **variables,
    }
    configured = Function(
        environment=environment, port="HEADWATER_PORT", init_timeout=START, environments=ENVIRONMENTS
    )  # fmt: skip
    log = folder / "function.log"
    with log.open("ab") as output:
        front_door = "url" if len(commands) > 1 else "http"
        async with running_lambda(configured, lambda _: Commands(commands, output), front_door=front_door) as running:
            yield Running(running.url, log)


async def ask(client: httpx.AsyncClient, tenant: str, number: int) -> tuple[str, str, int]:
    """The id that the request had, its completion's, and how many tokens that has."""
    body = {"model": f"sim-ok?tokens={number + 1}&first_ms=0&rate=50", "max_tokens": 100}
    messages = [{"role": "user", "content": f"A prompt of {tenant}."}]
    while True:
        answer = await client.post("/v1/messages", json={**body, "messages": messages})
        if answer.status_code not in (429, 503) or "request-id" in answer.headers:
            break
        await asyncio.sleep(0.1)  # there are no more environments
    assert answer.status_code == 200, answer.text
    return answer.headers["request-id"], answer.headers["x-completion-id"], number + 1


@pytest.mark.timeout(240)
@pytest.mark.parametrize("commands", [ADAPTER, HANDLER], ids=["web adapter", "Lambda's runtime"])
async def test_every_line_has_its_own_requests_values(
    commands: Sequence[Sequence[str]], tmp_path: Path, database_url: str, upstream: SimulatedUpstream
) -> None:
    async with function(commands, tmp_path, database_url, upstream.url) as running:
        async with running.client(ADMIN_KEY) as admin:
            keys = {f"tenant-{number}": await make_key(admin, tenant=f"tenant-{number}") for number in range(TENANTS)}

        async def of_tenant(place: int, tenant: str) -> list[tuple[str, str, str, int]]:
            async with running.client(keys[tenant]) as client:
                return [
                    (tenant, *await ask(client, tenant, place * REQUESTS + number)) for number in range(REQUESTS)
                ]  # fmt: skip

        sent = await asyncio.gather(*(of_tenant(place, tenant) for place, tenant in enumerate(keys)))
        # By now all that is frozen has said what there was to say.
        found = running.lines()
    for tenant, request_id, completion_id, tokens in [each for some in sent for each in some]:
        [request] = [line for line in log_lines.requests(found) if line["request_id"] == request_id]
        [completion] = [line for line in log_lines.completions(found) if line["request_id"] == request_id]
        [metrics] = [line for line in found if log_lines.is_metrics(line) and line.get("request_id") == request_id]
        for line in (request, completion):
            assert (line["tenant"], line["completion_id"], line["home"]) == (tenant, completion_id, "lambda")
        assert completion["output_tokens"] == log_lines.value(metrics, Metric.OUTPUT_TOKENS) == tokens
        assert metrics["completion_id"] == completion_id
    for line in found:
        log_lines.check(line)
    instances = {line["instance"] for line in found if "instance" in line}
    assert 1 < len(instances) <= ENVIRONMENTS
    # Each environment started once, and one of its requests waited for it.
    assert sum(line.get("message") == "instance started" for line in found) == len(instances)
    assert sum(line["cold_start"] for line in log_lines.requests(found)) == len(instances)
    assert sum(Metric.COLD_START in line for line in found) == len(instances)


@contextmanager
def daemon() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What X-Ray's daemon is to the SDK: the address that it listens at, and the segments that came."""
    segments: list[dict[str, Any]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        def take() -> None:
            while message := listening.recv(65_535):
                segments.append(json.loads(message.partition(b"\n")[2]))

        taking = threading.Thread(target=take)
        taking.start()
        try:
            yield address, segments
        finally:
            listening.sendto(b"", listening.getsockname())
            taking.join()


def flat(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for segment in segments for each in (segment, *flat(segment.get("subsegments", [])))]


@pytest.mark.timeout(120)
async def test_x_ray_has_a_completion_where_lambdas_runtime_calls(
    tmp_path: Path, database_url: str, upstream: SimulatedUpstream
) -> None:
    with daemon() as (address, segments):
        traced = {"HEADWATER_XRAY": "true", "LAMBDA_TASK_ROOT": "/var/task", "AWS_XRAY_DAEMON_ADDRESS": address}
        async with function(HANDLER, tmp_path, database_url, upstream.url, **traced) as running:
            async with running.client(ADMIN_KEY) as admin:
                key = await make_key(admin)
            async with running.client(key) as client:
                request_id, completion_id, _ = await ask(client, "default", 3)
            await until(lambda: any(each["name"] == "settle" for each in flat(segments)))
            [request] = [line for line in log_lines.requests(running.lines()) if line["request_id"] == request_id]
    spans = {each["name"]: each for each in flat(segments)}
    assert {"## _handle", "admit", "completion", "upstream", "settle"} <= spans.keys()
    assert spans["completion"]["annotations"]["headwater_completion_id"] == completion_id
    trace = request["xray_trace_id"]
    asked = next(each for each in upstream.requests if each.method == "POST").headers
    assert asked["x-amzn-trace-id"].startswith(f"Root={trace};Parent=")
    assert asked["traceparent"].split("-")[1] == trace[2:].replace("-", "")
