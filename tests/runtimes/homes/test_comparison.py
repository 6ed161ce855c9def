"""`make compare` with the image as Lambda's home."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from compare.results import read
from local.aws_lambda.container import MADE_BY
from tests.runtimes.homes.targets import IMAGE, docker
from tests.support.service import ROOT, clean_environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def comparison(folder: Path, *options: str) -> AsyncIterator[Process]:
    command = ["-m", "local.comparison", "--data", str(folder), "--image", IMAGE, *options]
    running = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=clean_environment(), stdout=PIPE, stderr=STDOUT
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
            await running.wait()


async def emulator_with_containers(running: Process) -> int:
    """The pid of the local Lambda, as soon as it has containers."""
    while True:
        assert running.returncode is None, (await running.communicate())[0].decode()
        for child in psutil.Process(running.pid).children():
            if "local.aws_lambda" in child.cmdline() and await containers(child.pid):
                return child.pid
        await asyncio.sleep(0.1)


async def containers(emulator: int) -> list[str]:
    return (await docker("ps", "--all", "--quiet", "--filter", f"label={MADE_BY}={emulator}")).split()


async def test_the_image_is_measured(tmp_path: Path) -> None:
    async with comparison(tmp_path, "--seconds", "15", "--rate", "1") as running:
        emulator = await emulator_with_containers(running)
        said = (await running.communicate())[0].decode()
        assert running.returncode == 0, said
        assert f"Lambda's is the image {IMAGE}, made " in said
        target = read(tmp_path / "results.json").targets[1]
        assert target.home == "lambda"
        assert target.counts.whole > 0
        assert target.starts.told == target.counts.requests - target.counts.failed
        assert (target.note or "").startswith(f"the image {IMAGE}, made ")
        assert f"the image {IMAGE}, made " in (tmp_path / "report.html").read_text()
        assert not await containers(emulator)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_no_container_is_left_behind_an_early_end(tmp_path: Path, number: signal.Signals) -> None:
    async with comparison(tmp_path) as running:
        emulator = await emulator_with_containers(running)
        running.send_signal(number)
        await running.communicate()
        assert running.returncode
        assert not await containers(emulator)


async def test_no_container_is_left_behind_a_killed_lambda(tmp_path: Path) -> None:
    async with comparison(tmp_path) as running:
        emulator = await emulator_with_containers(running)
        psutil.Process(emulator).kill()
        said = (await running.communicate())[0].decode()
        assert "The local Lambda ended unexpectedly" in said
        assert not await containers(emulator)
