"""The local Lambda keeps Lambda's rules, shown by a tiny application beside the stand-in of the web adapter."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local.aws_lambda.adapter import STAND_IN, adapter_command
from local.aws_lambda.function import Function
from local.aws_lambda.invocation import Failure
from local.aws_lambda.running import Lambda, running_lambda
from local.aws_lambda.sandbox import Commands
from tests.support.headwater import until

APP = [sys.executable, str(Path(__file__).with_name("tiny_app.py"))]
ADAPTER = adapter_command(STAND_IN)


@asynccontextmanager
async def running(
    tmp_path: Path, *, front_door: str = "url", retries: Any = (), **chosen: Any
) -> AsyncIterator[Lambda]:
    environment = {
        "TINY_LOG": str(tmp_path / "log"),
        "AWS_LWA_INVOKE_MODE": "buffered" if front_door == "http" else "response_stream",
        "AWS_LWA_READINESS_CHECK_PATH": "/ready",
        "AWS_LWA_ERROR_STATUS_CODES": "598-599",
        "AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "/before",
        "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": "/after",
    }
    function = Function(environment=environment, **{"init_timeout": 60, **chosen})
    make = lambda _function: Commands([ADAPTER, APP])  # noqa: E731
    async with running_lambda(function, make, front_door=front_door, retries=retries) as emulated:
        yield emulated


def _paths(tmp_path: Path) -> list[str]:
    """What the application was called for, without the looks at whether it is ready."""
    lines = (tmp_path / "log").read_text().splitlines()
    return [line for line in lines if line != "/ready"]


@pytest.mark.parametrize("front_door", ["url", "rest", "http"])
async def test_a_request_goes_through_and_its_answer_comes_back(tmp_path: Path, front_door: str) -> None:
    async with running(tmp_path, front_door=front_door) as emulated, httpx.AsyncClient(timeout=60) as client:
        response = await client.post(f"{emulated.url}/some/path?x=1&y=2", json="größer")
        assert response.status_code == 201
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert (response.json()["body"], response.json()["query"]) == ('"größer"', "x=1&y=2")
    assert _paths(tmp_path) == ["/some/path"]


async def test_pieces_come_one_by_one(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as emulated,
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{emulated.url}/pieces") as response,
    ):
        times = [asyncio.get_running_loop().time() async for _ in response.aiter_bytes()]
    assert len(times) > 3
    assert times[-1] - times[0] > 0.3


async def test_an_environment_stands_still_between_its_invocations_and_is_used_again(tmp_path: Path) -> None:
    async with running(tmp_path) as emulated, httpx.AsyncClient(timeout=60) as client:
        process = psutil.Process((await client.get(emulated.url)).json()["pid"])
        await until(lambda: process.status() == psutil.STATUS_STOPPED)
        assert (await client.get(emulated.url)).json()["pid"] == process.pid
        await until(lambda: process.status() == psutil.STATUS_STOPPED)
        assert len(emulated.service.account.inits) == 1
    assert not process.is_running()


async def test_requests_at_once_have_an_environment_each_until_there_may_be_no_more(tmp_path: Path) -> None:
    async with running(tmp_path, environments=2) as emulated, httpx.AsyncClient(timeout=60) as client:
        answers = await asyncio.gather(*(client.get(f"{emulated.url}/pieces") for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [201, 201, 429]
        assert (len(emulated.service.account.inits), emulated.service.account.throttled) == (2, 1)


async def test_one_environment_takes_several_at_once_as_on_managed_instances(tmp_path: Path) -> None:
    async with running(tmp_path, concurrency=4, environments=1) as emulated, httpx.AsyncClient(timeout=60) as client:
        answers = await asyncio.gather(*(client.get(f"{emulated.url}/pieces") for _ in range(4)))
        assert [answer.status_code for answer in answers] == [201] * 4
        assert len(emulated.service.account.inits) == 1


@pytest.mark.parametrize(
    ("path", "type"), [("/exit", "Runtime.ExitError"), ("/hang", "Sandbox.Timedout"), ("/nothing-else", None)]
)
async def test_what_fails_ends_its_environment_and_no_other(tmp_path: Path, path: str, type: str | None) -> None:
    async with running(tmp_path, timeout=2) as emulated, httpx.AsyncClient(timeout=60) as client:
        assert (await client.get(emulated.url + path)).status_code == (502 if type else 201)
        assert (await client.get(emulated.url)).status_code == 201
        failures = emulated.service.account.failures
        # Whether the process's end or the adapter's complaint about it comes first is a matter of luck.
        assert list(failures) in ([type], ["Error"]) if type else not failures


async def test_a_caller_that_leaves_is_not_missed(tmp_path: Path) -> None:
    async with running(tmp_path) as emulated, httpx.AsyncClient(timeout=60) as client:
        async with client.stream("GET", f"{emulated.url}/pieces") as response:
            await anext(response.aiter_bytes())
        await until(lambda: emulated.service.account.invocations)
        assert emulated.service.account.invocations[0] > 400


async def _invoke(emulated: Lambda, event: Any, kind: str = "RequestResponse", name: str = "headwater") -> Any:
    url = f"{emulated.invoke_url}/2015-03-31/functions/{name}/invocations"
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(url, json=event, headers={"x-amz-invocation-type": kind})


async def test_invoke_answers_or_promises(tmp_path: Path) -> None:
    async with running(tmp_path, retries=(0.01, 0.01)) as emulated:
        whole = await _invoke(emulated, {"a": 1}, name="headwater:live")
        assert (whole.status_code, whole.headers["x-amz-executed-version"]) == (200, "$LATEST")
        assert whole.content.startswith(b'{"statusCode": 201')
        failed = await _invoke(emulated, {"fail": 1})
        assert (failed.headers["x-amz-function-error"], failed.json()["errorType"]) == ("Unhandled", "Error")
        assert (await _invoke(emulated, {}, name="other")).status_code == 404
        assert (await _invoke(emulated, {"fail": 1}, "Event")).status_code == 202
        await until(lambda: emulated.service.account.failures == {"Error": 4})  # that one, and three tries
    assert _paths(tmp_path) == ["/events"] * 5


async def test_what_does_not_stream_answers_an_event_with_json(tmp_path: Path) -> None:
    async with running(tmp_path, front_door="http") as emulated:
        assert (await _invoke(emulated, {"a": 1})).json()["body"] == '{"a": 1}'
    assert _paths(tmp_path) == ["/events"]


async def test_hooks_are_called_around_a_snapshot_and_not_again(tmp_path: Path) -> None:
    async with running(tmp_path, snapstart=True) as emulated, httpx.AsyncClient(timeout=60) as client:
        await emulated.service.take_snapshot()
        assert _paths(tmp_path) == ["/before"]
        for _ in range(2):
            assert (await client.get(f"{emulated.url}/served")).status_code == 201
            await until(lambda: not emulated.service.environments[0].taken)
        account = emulated.service.account
        assert (len(account.inits), len(account.restores)) == (1, 1)
    assert _paths(tmp_path) == ["/before", "/after", "/served", "/served"]


async def test_what_cannot_start_is_a_failed_invocation() -> None:
    make = lambda _function: Commands([["/no/such/program"]])  # noqa: E731
    async with running_lambda(Function(), make) as emulated:
        with pytest.raises(Failure, match="no/such/program"):
            await emulated.service.invoke({}).answer.whole()


async def test_what_does_not_start_in_time_is_a_failed_invocation() -> None:
    make = lambda _function: Commands([[sys.executable, "-c", "import time; time.sleep(60)"]])  # noqa: E731
    async with running_lambda(Function(init_timeout=0.2), make) as emulated:
        with pytest.raises(Failure, match="Init timed out after"):
            await emulated.service.invoke({}).answer.whole()
        assert emulated.service.account.failures == {"Sandbox.Timedout": 1}
