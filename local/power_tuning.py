"""How long the image takes by how much memory it has: Lambda's power tuning, on this machine.

`python -m local.power_tuning .data/run.json tuning.json` while `make run` runs, on a DATABASE_URL with a host that
containers reach. Memory buys CPU on Lambda: each size gets what it has there (1769 MB are one CPU). The file has the
form of what AWS Lambda Power Tuning writes; `python -m infra.commands plot` draws it.
"""

import asyncio
import json
import os
import statistics
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import httpx

from local.aws_lambda.container import Container
from local.aws_lambda.function import Function
from local.aws_lambda.running import Lambda, running_lambda
from local.errors import LaunchError
from local.state import Run

_PRICES: Final = Path(__file__).parents[1] / "compare" / "prices.toml"
_PATIENCE: Final = 120.0
# Of the simulated upstream: what takes time is then our own part.
_FAST: Final = "sim-ok?rate=1000&tokens=100&first_ms=0"


@click.command(help=__doc__)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--image", default="headwater", show_default=True)
@click.option("--memory", "sizes", type=int, multiple=True, default=(512, 1024, 1769, 3008), show_default=True)
@click.option("--requests", default=10, show_default=True, help="Of each size, one after the other.")
def main(run: Path, result: Path, image: str, sizes: tuple[int, ...], requests: int) -> None:
    measured = asyncio.run(_measure_all(Run(**json.loads(run.read_text())), image, sizes, requests))
    result.write_text(json.dumps({"stats": measured}, indent=2) + "\n")


async def _measure_all(run: Run, image: str, sizes: Sequence[int], requests: int) -> list[dict[str, float]]:
    gb_second, request = _prices()
    measured = []
    for memory in sizes:
        init, durations = await _measure(run, image, memory, requests)
        mean = statistics.mean(durations)
        price = mean / 1000 * memory / 1024 * gb_second + request
        measured.append({"value": memory, "averageDuration": mean, "averagePrice": price, "init": init})
        click.echo(f"{memory:5} MB  start {init:6.0f} ms  a request {mean:6.0f} ms  ${price * 1e6:.2f} a million")
    return measured


def _prices() -> tuple[float, float]:
    prices: dict[str, Any] = tomllib.loads(_PRICES.read_text())["us-east-1"]["lambda"]
    return prices["duration_arm64"]["usd"], prices["requests"]["usd"]


async def _measure(run: Run, image: str, memory: int, requests: int) -> tuple[float, list[float]]:
    """Milliseconds: of the start, and of each invocation after the first.

    Raises:
        LaunchError: a request failed.
    """
    environment = {
        "HEADWATER_HOME": "lambda",
        "HEADWATER_DATABASE_URL": run.database_url,
        "HEADWATER_ADMIN_KEY": run.admin_key,
        "ANTHROPIC_BASE_URL": run.upstream_url,
        "ANTHROPIC_API_KEY": "simulated",
    }
    # A start with little CPU takes longer than the 10 s after which Lambda would begin again.
    function = Function(memory=memory, init_timeout=_PATIENCE, port="HEADWATER_PORT", environment=environment)
    with Path(os.devnull).open("wb") as nowhere:  # noqa: ASYNC230  nothing waits for it
        make_sandbox = partial(Container, image, output=nowhere, limit_cpu=True)
        async with running_lambda(function, make_sandbox, front_door="rest") as running:
            return await _measured(running, run, requests)


async def _measured(running: Lambda, run: Run, requests: int) -> tuple[float, list[float]]:
    headers = {"authorization": f"Bearer {run.key}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=_PATIENCE) as client:
        for _ in range(requests + 1):
            await _ask(client, _FAST if run.upstream_simulated else run.model)
    account = running.service.account
    return account.inits[0], account.invocations[1:]


async def _ask(client: httpx.AsyncClient, model: str) -> None:
    body = {"model": model, "input": "Tell me about rivers.", "max_tokens": 300}
    answer = await client.post("/v1/completions", json=body)
    if answer.status_code != 200:
        raise LaunchError(f"The function answered {answer.status_code}: {answer.text[:200]}")


if __name__ == "__main__":
    main()
