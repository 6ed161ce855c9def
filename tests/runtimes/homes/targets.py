"""The homes, each with a way to start it. The suite knows them by their names."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import httpx
import pytest

from app.domain.ids import uuid7
from local.addresses import free_port
from local.aws_lambda.adapter import adapter_command, built_adapter
from local.aws_lambda.container import Container
from local.aws_lambda.function import Function
from local.aws_lambda.running import Lambda, running_lambda
from local.aws_lambda.sandbox import Commands, MakeSandbox
from local.upstream import SimulatedUpstream
from tests.support.service import ADMIN_KEY, Services, make_key

IMAGE: Final = "headwater"
BUFFERED_IMAGE: Final = "headwater-buffered"
HANDLER: Final = "app.entrypoints.lambda_handler.handler"
# A machine with two cores may start twenty environments at once.
_INIT_TIMEOUT: Final = 90
# Where no image says so: as Dockerfile has them.
ADAPTER_SETTINGS: Final = {
    "AWS_LWA_INVOKE_MODE": "response_stream",
    "AWS_LWA_READINESS_CHECK_PATH": "/livez",
    "AWS_LWA_PASS_THROUGH_PATH": "/events",
    "AWS_LWA_ERROR_STATUS_CODES": "599",
    "AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "/_snapstart/before-checkpoint",
    "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": "/_snapstart/after-restore",
}


@dataclass(frozen=True)
class Surroundings:
    """What every home has: a database on loopback, an upstream, and a folder for its log."""

    database_url: str
    upstream: SimulatedUpstream
    folder: Path

    def environment(self, home: str, **settings: object) -> dict[str, str]:
        """`settings` are those of `app.config` by their names."""
        chosen = {"home": home, "admin_key": ADMIN_KEY, "keepalive": 0.5, "peek_timeout": 0.5, "lease": 3, **settings}
        return {
            "DATABASE_URL": self.database_url,
            "ANTHROPIC_BASE_URL": self.upstream.url,
            "ANTHROPIC_API_KEY": "the-upstreams-own-key",
            **{f"HEADWATER_{name.upper()}": str(value) for name, value in chosen.items()},
        }

    def function(self, *, settings: dict[str, object] | None = None, **chosen: Any) -> Function:
        environment = self.environment("lambda", background_function="headwater", **(settings or {}))
        return Function(
            environment={**ADAPTER_SETTINGS, **environment},
            port="HEADWATER_PORT",
            **{"init_timeout": _INIT_TIMEOUT, **chosen},
        )

    def log(self, name: str) -> IO[bytes]:
        return (self.folder / f"{name}.log").open("ab")


@dataclass(frozen=True)
class Home:
    """A running one. `emulated` and the `log` of all its environments are there where it is a function."""

    url: str
    key: str
    emulated: Lambda | None = None
    log: Path | None = None

    def client(self, **options: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, **{"timeout": 60, **options})


Start = Callable[[Surroundings], AbstractAsyncContextManager[Home]]


async def _home(url: str, emulated: Lambda | None = None, log: Path | None = None) -> Home:
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": ADMIN_KEY}, timeout=60) as admin:
        async with asyncio.timeout(60):
            while not await _is_ready(admin):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        return Home(url, await make_key(admin), emulated, log)


async def _is_ready(admin: httpx.AsyncClient) -> bool:
    try:
        return (await admin.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def _process(around: Surroundings) -> AsyncIterator[Home]:
    services = Services(around.folder, around.database_url, around.upstream.url)
    try:
        service = await services.start(keepalive=0.5, peek_timeout=0.5, lease=3)
        yield Home(service.url, service.key)
    finally:
        services.end()


@asynccontextmanager
async def running_container(around: Surroundings, **settings: object) -> AsyncIterator[tuple[str, Home]]:
    """The image as Fargate runs it: its own user, a file system that is read only, one place to write to."""
    port = free_port("127.0.0.1")
    name = f"headwater-test-{uuid7().hex[-12:]}"
    environment = around.environment("fargate", host="127.0.0.1", port=port, **settings)
    variables = [part for pair in environment.items() for part in ("--env", "=".join(pair))]
    confined = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    await docker("run", "--detach", "--name", name, "--network", "host", *confined, *variables, IMAGE)
    try:
        yield name, await _home(f"http://127.0.0.1:{port}")
    finally:
        with around.log(name) as log:
            log.write((await docker("logs", name)).encode())
        await docker("rm", "--force", name)


@asynccontextmanager
async def _fargate(around: Surroundings) -> AsyncIterator[Home]:
    async with running_container(around) as (_, home):
        yield home


def function(make: Callable[[Surroundings, IO[bytes]], MakeSandbox], front_door: str, **chosen: Any) -> Start:
    """A function, as `make` starts its environments."""

    @asynccontextmanager
    async def start(around: Surroundings) -> AsyncIterator[Home]:
        with around.log(f"function-{uuid7().hex[-6:]}") as log:
            configured = around.function(**chosen)
            async with running_lambda(configured, make(around, log), front_door=front_door) as running:
                yield await _home(running.url, running, Path(log.name))

    return start


def image(name: str) -> Callable[[Surroundings, IO[bytes]], MakeSandbox]:
    return lambda _around, log: lambda function: Container(name, function, log)


def command(
    *extensions: Sequence[str], run: Sequence[str] = (sys.executable, "-m", "app")
) -> Callable[[Surroundings, IO[bytes]], MakeSandbox]:
    return lambda _around, log: lambda _function: Commands([*extensions, run], log)


def beside_the_adapter(*, hooks: bool = False) -> Callable[[Surroundings, IO[bytes]], MakeSandbox]:
    return command(adapter_command(built_adapter(hooks=hooks)))


def handler() -> Callable[[Surroundings, IO[bytes]], MakeSandbox]:
    return command(run=[sys.executable, "-m", "awslambdaric", HANDLER])


STREAMING: Final[dict[str, Start]] = {
    "uvicorn": _process,
    "Fargate image": _fargate,
    "Lambda image, URL": function(image(IMAGE), "url"),
    "Lambda image, REST": function(image(IMAGE), "rest"),
}
BUFFERED: Final[dict[str, Start]] = {
    "Mangum, HTTP API": function(handler(), "http"),
    "Mangum image, HTTP API": function(image(BUFFERED_IMAGE), "http"),
}
ALL: Final = STREAMING | BUFFERED


def on(homes: dict[str, Start]) -> pytest.MarkDecorator:
    """Run each test of a module on these homes."""
    return pytest.mark.parametrize("home", list(homes), indirect=True, scope="session")


async def docker(*arguments: str) -> str:
    """What docker says.

    Raises:
        AssertionError: it failed, with what it said.
    """

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)  # noqa: S607

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr
    return done.stdout
