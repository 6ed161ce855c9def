"""From the start of a process to what it first does: an answer, a first token."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import httpx

from bench.database import database
from bench.servers import HOST, MODEL, headwater_environment, make_key, python, started, wait_for
from local.addresses import free_port

ROUNDS: Final = 5
_SHORT: Final = "events=5 rate=0 first=0 hold=0 pad=0"


def _until(command: Sequence[str], environment: Mapping[str, str], ready: Callable[[], bool]) -> float:
    """Seconds from the start of `command` until `ready`."""
    began = time.perf_counter()
    with started(command, environment):
        while not ready():
            time.sleep(0.002)
            if time.perf_counter() - began > 60:
                raise TimeoutError(f"{command} was not ready within a minute")
        return time.perf_counter() - began


def _answers(port: int, path: str, headers: Mapping[str, str]) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code == 200
        except httpx.TransportError:
            return False

    return answers


def _streams(port: int, body: Mapping[str, object], headers: Mapping[str, str]) -> Callable[[], bool]:
    def streams() -> bool:
        url = f"http://127.0.0.1:{port}/v1/completions"
        try:
            with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as response:
                return any("text" in line for line in response.iter_lines())
        except httpx.TransportError:
            return False

    return streams


def measure(rounds: int = ROUNDS, interpreter: str = sys.executable) -> dict[str, list[float]]:
    """Seconds, one a round: each thing in turn, so that what disturbs a round disturbs all.

    `interpreter` is the Python of the servers: the SDK imports what it finds beside itself.
    """
    # As the images have it; some environments keep Python from doing it by the way.
    subprocess.run([interpreter, "-m", "compileall", "-q", "app", "bench", "local"], check=True)
    seconds: dict[str, list[float]] = {}
    upstream = free_port(HOST)
    body = {"model": MODEL, "input": _SHORT, "max_tokens": 100}
    with python("bench.upstream", str(upstream)), database() as store:
        wait_for(upstream)
        port = free_port(HOST)
        environment = headwater_environment(store.url, port, upstream)
        with python("app", environment=environment):
            wait_for(port, "/readyz")
            key = {"authorization": f"Bearer {make_key(port)}"}
        bare, naive = free_port(HOST), free_port(HOST)
        things = {
            "bare Starlette: an answer": (["bench.bare", str(bare)], {}, _answers(bare, "/livez", {})),
            "naive: an answer": (["bench.naive", str(naive)], environment, _answers(naive, "/livez", {})),
            "naive: a first token": (["bench.naive", str(naive)], environment, _streams(naive, body, {})),
            "Headwater: /livez": (["app"], environment, _answers(port, "/livez", {})),
            "Headwater: a list of completions": (["app"], environment, _answers(port, "/v1/completions", key)),
            "Headwater: a first token": (["app"], environment, _streams(port, body, key)),
        }
        for _ in range(rounds):
            for name, (command, given, ready) in things.items():
                whole = [interpreter, "-m", *command]
                seconds.setdefault(name, []).append(_until(whole, given, ready))
    return seconds


def told(seconds: Mapping[str, Sequence[float]]) -> list[dict[str, str]]:
    bare = seconds["bare Starlette: an answer"]
    rows = []
    for name, every in seconds.items():
        times = statistics.median([each / least for each, least in zip(every, bare, strict=True)])
        told = f"{statistics.median(every):.2f} ({min(every):.2f}-{max(every):.2f})"
        rows.append({"from the process's start to": name, "seconds": told, "x bare": f"{times:.1f}"})
    return rows
