"""`python -m local.aws_lambda`: any web application, handler or image, as AWS Lambda would run it."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from local.aws_lambda.adapter import adapter_command, built_adapter
from local.aws_lambda.container import Container
from local.aws_lambda.front_doors import FRONT_DOORS
from local.aws_lambda.function import KEY_VARIABLES, Function
from local.aws_lambda.invocation import Failure
from local.aws_lambda.running import running_lambda
from local.aws_lambda.sandbox import Commands, MakeSandbox
from local.errors import LaunchError

_MANAGED_RUNTIME = {"AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}"}


class _Event(click.ParamType[Any]):
    name = "event"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON: {error}", param, ctx)


@dataclass(frozen=True, slots=True)
class Doors:
    """Where to listen, and what else calls the function."""

    front_door: str
    host: str
    port: int
    invoke_port: int
    schedule: tuple[tuple[float, Any], ...]


@click.command()
@click.argument("command", nargs=-1)
@click.option("--image", help="Run this image by docker, in place of a command.")
@click.option("--handler", help="Run this handler by Lambda's own runtime for Python; it answers in one piece.")
@click.option("--adapter", envvar="HEADWATER_ADAPTER", help="The web adapter's program, or: stand-in.")
@click.option("--front-door", type=click.Choice(sorted(FRONT_DOORS)), default="url", show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the front door listens.")
@click.option("--port", default=9000, show_default=True, help="0 takes a free one.")
@click.option("--invoke-port", default=0, help="Of the Invoke API; 0 takes a free one.")
@click.option("--name", default="headwater", show_default=True, help="Of the function.")
@click.option("--memory", default=1769, show_default=True, help="MB.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds.")
@click.option("--init-timeout", default=10.0, show_default=True, help="Seconds that a start may take.")
@click.option("--environments", default=100, show_default=True, help="At most; then requests are throttled.")
@click.option("--concurrency", default=1, show_default=True, help="Of one environment, as on Managed Instances.")
@click.option("--snapstart", is_flag=True, help="Start once, stop behind the hooks, and go on when a request comes.")
@click.option("--limit-cpu", is_flag=True, help="As much of a CPU as the memory buys on Lambda (images only).")
@click.option("--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="For the function; may be repeated.")
@click.option("--port-variable", default="PORT", show_default=True, help="That tells the application its port.")
@click.option(
    "--schedule",
    nargs=2,
    type=(float, _Event()),
    multiple=True,
    metavar="SECONDS EVENT",
    help="Invoke it again and again.",
)
def main(
    command: tuple[str, ...],
    image: str | None,
    handler: str | None,
    adapter: str | None,
    front_door: str,
    host: str,
    port: int,
    invoke_port: int,
    limit_cpu: bool,
    variables: tuple[str, ...],
    port_variable: str,
    schedule: tuple[tuple[float, Any], ...],
    **chosen: Any,
) -> None:
    """Run COMMAND (a web application beside Lambda's web adapter), an image, or a handler. Ctrl-C ends it."""
    if sum(map(bool, (command, image, handler))) != 1:
        raise click.UsageError("Name one of: a command, --image, --handler.")
    if limit_cpu and not image:
        raise click.UsageError("--limit-cpu is for images.")
    environment = dict(map(_variable, variables)) | (_MANAGED_RUNTIME if handler else {})
    function = Function(environment=environment, credentials=_credentials(), port=port_variable, **chosen)
    doors = Doors(front_door, host, port, invoke_port, schedule)
    make_sandbox: MakeSandbox
    if image:
        make_sandbox = partial(Container, image, limit_cpu=limit_cpu)
    elif handler:
        make_sandbox = _beside([], [sys.executable, "-m", "awslambdaric", handler])
    else:
        adapter = adapter or built_adapter(hooks=function.snapstart)
        click.echo(f"Web adapter: {adapter}")
        make_sandbox = _beside([adapter_command(adapter)], command)
    asyncio.run(_run(function, make_sandbox, doors))


def _variable(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    return name, value if given else os.environ.get(name, "")


def _credentials() -> dict[str, str]:
    return {name: os.environ.get(name, "local") for name in KEY_VARIABLES}


def _beside(extensions: list[list[str]], command: Sequence[str]) -> MakeSandbox:
    return lambda _function: Commands([*extensions, command])


async def _run(function: Function, make_sandbox: MakeSandbox, doors: Doors) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_lambda(
        function,
        make_sandbox,
        front_door=doors.front_door,
        host=doors.host,
        port=doors.port,
        invoke_port=doors.invoke_port,
    ) as running:
        for seconds, event in doors.schedule:
            running.service.schedule(seconds, event)
        if function.snapstart:
            await _publish(running.service.take_snapshot)
        click.echo(f"Lambda function {function.name} at {running.url} ({doors.front_door})")
        click.echo(f"  Invoke API: AWS_ENDPOINT_URL_LAMBDA={shlex.quote(running.invoke_url)}")
        await stop.wait()
    click.echo(running.service.account.table(function))


async def _publish(take_snapshot: Callable[[], Any]) -> None:
    try:
        await take_snapshot()
    except Failure as failure:
        raise LaunchError(f"The snapshot could not be taken: {failure}.") from failure


if __name__ == "__main__":
    main()
