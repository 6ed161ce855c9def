"""`python -m local.comparison`: both homes on this machine, under the same load, and a report of what was seen.

Fargate's is uvicorn as it runs there; Lambda's runs in the environments of the local Lambda, with its real web adapter
where `make adapter` has built it. Both have the simulated upstream and the same database. What is said of their speed
is true of this machine; what it would be on AWS, `python -m compare run` finds there.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import click

from app.config import Settings
from local.addresses import free_port, url_of
from local.api import call, is_ready, make_key
from local.app_process import running_app, running_function
from local.database import database
from local.errors import LaunchError
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
@click.option("--seconds", default=70.0, show_default=True, help="Of the load.")
@click.option("--rate", default=1.5, show_default=True, help="Requests a second to each home.")
@click.option("--profile", default="ramp", show_default=True, help="One of those of `python -m compare run`.")
def main(data: Path, seconds: float, rate: float, profile: str) -> None:
    """The results are in the folder of the data, with the report beside them."""
    with open_data_folder(data) as folder:
        if not folder.first:
            raise LaunchError(f"A comparison already runs on {folder.path}.")
        click.echo("Starting both homes ...")
        with _both(folder) as (urls, key):
            _compare(urls, key, ["--seconds", str(seconds), "--rate", str(rate), "--profile", profile], data)


@contextmanager
def _both(folder: DataFolder) -> Iterator[tuple[Mapping[str, str], str]]:
    """The addresses by the names of the homes, and a key for both."""
    settings = Settings(host=_HOST, upstream="anthropic", upstream_base_url=None, upstream_api_key=None)
    admin_key = folder.admin_key()
    with ExitStack() as stack:
        source = stack.enter_context(upstream(settings, _MODEL, folder))
        store = stack.enter_context(database("", folder.path))
        given = {
            **source.environment,
            "HEADWATER_HOST": _HOST,
            "HEADWATER_DATABASE_URL": store.url,
            "HEADWATER_ADMIN_KEY": admin_key,
            "HEADWATER_EMF": "false",
        }
        ports = {home: free_port(_HOST) for home in ("fargate", "lambda")}
        logs = {home: stack.enter_context((folder.path / f"{home}.log").open("wb")) for home in ports}
        task = running_app(settings, {**given, "HEADWATER_HOME": "fargate"}, port=ports["fargate"], log=logs["fargate"])
        function = running_function(settings, given, port=ports["lambda"], log=logs["lambda"], options=_ENVIRONMENTS)
        children = [stack.enter_context(task), stack.enter_context(function), *source.server, *store.server]
        urls = {home: url_of(_HOST, port) for home, port in ports.items()}
        _wait_until_ready(urls, children, folder)
        key = make_key(urls["fargate"], admin_key)
        for url in urls.values():
            _warm(url, key)
        yield urls, key


def _wait_until_ready(urls: Mapping[str, str], children: list[Child], folder: DataFolder) -> None:
    for home, url in urls.items():
        if not wait_until(lambda url=url: is_ready(url), children, _READY_WITHIN):  # type: ignore[misc]
            raise LaunchError(
                f"The home {home} was not ready within {_READY_WITHIN:.0f} s: see {folder.path}/{home}.log."
            )


def _warm(url: str, key: str) -> None:
    """A few answers at once."""
    body = {"model": _MODEL, "input": "Hello.", "max_tokens": 100, "stream": False}
    with ThreadPoolExecutor(_WARM) as threads:
        for _ in range(_WARM):
            threads.submit(call, "POST", f"{url}/v1/completions", key, body)


def _compare(urls: Mapping[str, str], key: str, load: list[str], folder: Path) -> None:
    """Raises: LaunchError: it did not come to an end."""
    output = folder / "results.json"
    targets = [argument for home, url in urls.items() for argument in ("--target", f"{home}={url}")]
    measured = [*targets, "--model", _MODEL, *load, "--output", str(output)]
    _run(["run", *measured], {"COMPARE_KEY": key})
    _run(["report", str(output), "--html", str(folder / "report.html")], {})


def _run(arguments: list[str], environment: Mapping[str, str]) -> None:
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
