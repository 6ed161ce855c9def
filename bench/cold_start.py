"""How long a new environment takes to its first byte: `python -m bench.cold_start [rounds]`, after `make images zip`.

Each round starts one environment of each kind on the local Lambda, with the CPU of 1769 MB, and asks it for `/livez`:
our image, our buffered image, the unpacked zip in Lambda's own image, and a bare FastAPI behind the web adapter, built
by our Dockerfile. What it takes the container itself to start is in all of them. Then it prints what our kinds import.
"""

import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from local.aws_lambda.container import Container
from local.aws_lambda.function import Function
from local.aws_lambda.running import running_lambda

ROOT: Final = Path(__file__).parents[1]
LAMBDA_BASE: Final = "public.ecr.aws/lambda/python:3.13"
ZIP: Final = ROOT / "build" / "zip-x86_64"
SETTINGS: Final = {
    "HEADWATER_HOME": "lambda",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "ANTHROPIC_API_KEY": "none",
}
BARE: Final = """
import os

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


uvicorn.run(app, host="0.0.0.0", port=int(os.environ["HEADWATER_PORT"]), log_config=None, access_log=False)
"""
# By what the kinds import before they can answer, and what our first completion adds.
IMPORTS: Final = {
    "image: to listen": ("headwater", "import app.__main__, uvloop"),
    "buffered image and zip: to answer": ("headwater-buffered", "import app.entrypoints.lambda_handler"),
    "any: the first completion adds": (
        "headwater",
        "import app.__main__, sys; print('--', file=sys.stderr); import genai_prices, app.providers.anthropic",
    ),
}
SHOWN: Final = 12


@dataclass(frozen=True)
class Start:
    """Milliseconds: until the runtime asks for its first event, and until the caller has its answer."""

    ready: float
    first_byte: float


async def start(image: str) -> Start:
    function = Function(environment=SETTINGS, port="HEADWATER_PORT", init_timeout=60)
    async with (
        running_lambda(function, partial(Container, image, limit_cpu=True)) as running,
        httpx.AsyncClient(base_url=running.url, timeout=90) as client,
    ):
        began = time.perf_counter()
        (await client.get("/livez")).raise_for_status()
        return Start(running.service.account.inits[0], (time.perf_counter() - began) * 1000)


def build(tag: str, folder: Path) -> str:
    subprocess.run(["docker", "build", "--quiet", "--network", "host", "--tag", tag, folder], check=True)  # noqa: S607
    return tag


def build_bare(folder: Path) -> str:
    """Our own Dockerfile, with another application and its pins."""
    shutil.copy(ROOT / "Dockerfile", folder)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    pins = folder / "requirements"
    pins.mkdir()
    shutil.copy(ROOT / "requirements" / "tools.txt", pins)
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "-"]
    command += ["--python-version", "3.13", "--no-emit-index-url", "-c", "requirements/app.txt"]
    wanted = b"fastapi\nuvicorn\nuvloop\nhttptools\n"
    subprocess.run([*command, "-o", pins / "app.txt"], cwd=ROOT, input=wanted, check=True, stdout=subprocess.DEVNULL)
    (folder / "app").mkdir()
    (folder / "app" / "__main__.py").write_text(BARE)
    return build("headwater-bench-bare", folder)


def build_zip(folder: Path) -> str:
    shutil.copytree(ZIP, folder / "task")
    (folder / "Dockerfile").write_text(
        f'FROM {LAMBDA_BASE}\nCOPY task /var/task\nCMD ["app.entrypoints.lambda_handler.handler"]\n'
    )
    return build("headwater-bench-zip", folder)


def imported(image: str, code: str) -> Iterator[tuple[str, float]]:
    """Top-level packages with the milliseconds of their own modules, the dearest first."""
    names = [part for name, value in SETTINGS.items() for part in ("--env", f"{name}={value}")]
    command = ["docker", "run", "--rm", "--network", "none", *names, "--entrypoint", "python3", image]
    done = subprocess.run([*command, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True)
    spent: Counter[str] = Counter()
    for own, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr.rpartition("\n--\n")[2]):
        spent[module.partition(".")[0]] += int(own)
    for package, microseconds in spent.most_common():
        yield package, microseconds / 1000


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as zipped:
        kinds = {
            "bare FastAPI": build_bare(Path(bare)),
            "image": "headwater",
            "buffered image": "headwater-buffered",
            "zip": build_zip(Path(zipped)),
        }
    starts: dict[str, list[Start]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, image in kinds.items():
            starts[kind].append(await start(image))
    for kind, these in starts.items():
        ready = statistics.median(each.ready for each in these)
        first = statistics.median(each.first_byte for each in these)
        print(f"{kind:<16} ready {ready:6.0f} ms   first byte {first:6.0f} ms   (medians of {rounds})")
    for what, (image, code) in IMPORTS.items():
        packages = list(imported(image, code))
        print(f"\n{what}: {sum(ms for _, ms in packages):.0f} ms in {len(packages)} packages")
        print(", ".join(f"{package} {ms:.0f}" for package, ms in packages[:SHOWN]))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
