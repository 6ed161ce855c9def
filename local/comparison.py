"""`python -m local.comparison`: both homes on this machine, under the same load, and a report of what was seen.

Fargate's is uvicorn as it runs there; Lambda's runs in the environments of the local Lambda: the image where `make
images` has built it, else processes, with the real web adapter where `make adapter` has built that. Both have the
simulated upstream and the same database. What is said of their speed is true of this machine; what it would be on AWS,
`python -m compare run` finds there.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Final

import click

from app.config import Settings
from local.addresses import free_port, url_of
from local.api import call, is_ready, make_key
from local.app_process import running_app, running_function
from local.database import database
from local.errors import LaunchError
from local.lambda_home import LambdaHome, choose_lambda_home
from local.processes import ROOT, Child, wait_until
from local.state import DataFolder, open_data_folder
from local.upstream_choice import upstream

_HOST: Final = "127.0.0.1"
_READY_WITHIN: Final = 60.0
# An answer of a second, begun after a third of one.
_MODEL: Final = "sim-ok?first_ms=300&rate=40&tokens=40"

# On Lambda each environment has a CPU of its own to start with; here those that start together share this machine's.
# Without warm ones and a limit, the load would start more of them than the machine can, and measure nothing else.
_ENVIRONMENTS: Final = ("--init-timeout", "60", "--environments", "12")
_WARM: Final = 4


@click.command(help=__doc__)
@click.option("--data", default=".data/compare", type=click.Path(path_type=Path, resolve_path=True), show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="Of the load.")
@click.option("--rate", default=1.5, show_default=True, help="Requests a second to each home.")
@click.option("--profile", default="ramp", show_default=True, help="One of those of `python -m compare run`.")
@click.option(
    "--image", metavar="NAME", help="Of Lambda's home. If none is named: headwater, if docker on Linux has it."
)
@click.option("--no-image", is_flag=True, help="Run Lambda's home as processes.")
def main(data: Path, seconds: float, rate: float, profile: str, image: str | None, no_image: bool) -> None:
    """The results are in the folder of the data, with the report beside them."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    if image and no_image:
        raise click.UsageError("--image and --no-image exclude each other.")
    with open_data_folder(data) as folder:
        if not folder.first:
            raise LaunchError(f"A comparison already runs on {folder.path}.")
        on_lambda = choose_lambda_home(image, processes=no_image)
        click.echo(f"Starting both homes. Lambda's is {on_lambda.told} ...")
        with _both(folder, on_lambda) as (homes, key):
            _compare(homes, key, ["--seconds", str(seconds), "--rate", str(rate), "--profile", profile], data)


def _exit(_number: int, _frame: FrameType | None) -> None:
    """By way of everything that ends the children."""
    raise SystemExit(1)


@dataclass(frozen=True, slots=True)
class _Home:
    """`told` says as what it runs. What containers take is not found below their `child`."""

    name: str
    url: str
    told: str
    child: Child
    in_containers: bool = False


@contextmanager
def _both(folder: DataFolder, on_lambda: LambdaHome) -> Iterator[tuple[list[_Home], str]]:
    """Ready and warm, with a key for both."""
    settings = Settings(host=_HOST, upstream="anthropic", upstream_base_url=None, upstream_api_key=None)
    admin_key = folder.admin_key()
    with ExitStack() as stack:
        source = stack.enter_context(upstream(settings, _MODEL, folder))
        store = stack.enter_context(database("", folder.path, for_containers=bool(on_lambda.image)))
        given = {
            **source.environment,
            "HEADWATER_UPSTREAM": "anthropic",
            "HEADWATER_HOST": _HOST,
            "HEADWATER_DATABASE_URL": store.url,
            "HEADWATER_ADMIN_KEY": admin_key,
            "HEADWATER_EMF": "false",
        }
        homes = _started(settings, given, on_lambda, folder, stack)
        _wait_until_ready(homes, [*source.server, *store.server], folder)
        key = make_key(homes[0].url, admin_key)
        for home in homes:
            _warm(home, key)
        yield homes, key


def _started(
    settings: Settings, given: Mapping[str, str], on_lambda: LambdaHome, folder: DataFolder, stack: ExitStack
) -> list[_Home]:
    def log(name: str) -> IO[bytes]:
        return stack.enter_context((folder.path / f"{name}.log").open("wb"))

    first, second = free_port(_HOST), free_port(_HOST)
    image = on_lambda.image
    task = running_app(settings, {**given, "HEADWATER_HOME": "fargate"}, port=first, log=log("fargate"))
    function = running_function(settings, given, port=second, log=log("lambda"), options=_ENVIRONMENTS, image=image)
    return [
        _Home("fargate", url_of(_HOST, first), "one process", stack.enter_context(task)),
        _Home("lambda", url_of(_HOST, second), on_lambda.told, stack.enter_context(function), bool(image)),
    ]


def _wait_until_ready(homes: Sequence[_Home], others: Sequence[Child], folder: DataFolder) -> None:
    children = [*others, *(home.child for home in homes)]
    for home in homes:
        if not wait_until(partial(is_ready, home.url), children, _READY_WITHIN):
            log = folder.path / f"{home.name}.log"
            raise LaunchError(f"The home {home.name} was not ready within {_READY_WITHIN:.0f} s: see {log}.")


def _warm(home: _Home, key: str) -> None:
    """A few answers at once, which may have to wait for containers."""
    body = {"model": _MODEL, "input": "Hello.", "max_tokens": 100, "stream": False}
    with ThreadPoolExecutor(_WARM) as threads:
        url = f"{home.url}/v1/completions"
        asked = [threads.submit(call, "POST", url, key, body, timeout=_READY_WITHIN) for _ in range(_WARM)]
    failed = [status for status, _ in (each.result() for each in asked) if status // 100 != 2]
    if failed:
        click.echo(f"{len(failed)} of {_WARM} requests that were to warm {home.name} failed: it may begin cold.")


def _compare(homes: Sequence[_Home], key: str, load: Sequence[str], folder: Path) -> None:
    """Raises: LaunchError: it did not come to an end."""
    output = folder / "results.json"
    named = [argument for home in homes for argument in _named(home)]
    _run(["run", *named, "--model", _MODEL, *load, "--output", str(output)], {"COMPARE_KEY": key})
    _run(["report", str(output), "--html", str(folder / "report.html")], {})


def _named(home: _Home) -> list[str]:
    named = ["--target", f"{home.name}={home.url}", "--note", f"{home.name}={home.told}"]
    return named if home.in_containers else [*named, "--process", f"{home.name}={home.child.process.pid}"]


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Ctrl-C is for the comparison, which then tells what there is."""
    asked = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = [sys.executable, "-m", "compare", *arguments]
        done = subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, check=False)
    finally:
        signal.signal(signal.SIGINT, asked)
    if done.returncode:
        raise LaunchError("The comparison did not come to an end; what it said stands above.")


if __name__ == "__main__":
    main()
