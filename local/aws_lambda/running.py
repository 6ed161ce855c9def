"""The local Lambda as a whole, for programs and tests: a function, its front door and its Invoke API."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiohttp import web

from local.addresses import free_port
from local.aws_lambda.front_doors import FRONT_DOORS, front_door_app
from local.aws_lambda.function import Function
from local.aws_lambda.invoke_api import invoke_app
from local.aws_lambda.sandbox import MakeSandbox
from local.aws_lambda.service import RETRIES, Service

_HOST = "127.0.0.1"
# Those that were being accepted when all was closed come and go, in seconds.
_LAST_CONNECTIONS = 0.05


@dataclass(frozen=True, slots=True)
class Lambda:
    """`url` is that of the front door, `invoke_url` what AWS_ENDPOINT_URL_LAMBDA has to say."""

    service: Service
    url: str
    invoke_url: str


@asynccontextmanager
async def running_lambda(
    function: Function,
    make_sandbox: MakeSandbox,
    *,
    front_door: str = "url",
    host: str = _HOST,
    port: int = 0,
    invoke_port: int = 0,
    retries: Sequence[float] = RETRIES,
) -> AsyncIterator[Lambda]:
    """Ready for requests; environments are made when they come. Code in them finds the Invoke API by its variable.

    Raises:
        LaunchError: a port cannot be listened on.
    """
    invoke_url = f"http://{_HOST}:{free_port(_HOST, invoke_port)}"
    endpoint = {"AWS_ENDPOINT_URL_LAMBDA": invoke_url}
    function = replace(function, environment={**endpoint, **function.environment})
    port = free_port(host, port)
    async with (
        Service(function, make_sandbox, retries=retries) as service,
        _listening(invoke_app(service), _HOST, int(invoke_url.rpartition(":")[2])),
        _listening(front_door_app(service, FRONT_DOORS[front_door]), host, port),
    ):
        yield Lambda(service, f"http://{host}:{port}", invoke_url)
    await asyncio.sleep(_LAST_CONNECTIONS)


@asynccontextmanager
async def _listening(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
