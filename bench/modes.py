"""The loads, and what is measured under each."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import psutil

from bench.load import Plan, Seen
from bench.servers import HOST, Running, Server, own_cpu, python, wait_for
from local.addresses import free_port


@dataclass(frozen=True, slots=True)
class Mode:
    """`streams` answers of `events` texts, `at_once` at a time; `rate` is of each stream, in events a second.

    Each text has `padding` bytes beside the moment of its sending.
    """

    name: str
    says: str
    streams: int
    at_once: int
    events: int
    rate: float = 0.0
    spread: float = 0.0
    padding: int = 0

    @property
    def prompt(self) -> str:
        return f"events={self.events} rate={self.rate:g} first=0 hold=0 pad={self.padding}"


MODES: Final = (
    Mode("burst", "20 streams as fast as they go", 20, 20, 2000),
    Mode("paced20", "20 streams of 24 events a second", 20, 20, 192, 24, 1),
    Mode("paced300", "300 streams of 30 events a second", 300, 300, 180, 30, 1),
    Mode("ttft1", "short answers, one at a time", 150, 1, 5),
    Mode("ttft50", "50 streams at a time, each of a second", 250, 50, 24, 24, 1),
    Mode("requests", "short answers, 20 at a time", 600, 20, 5),
)


class Measured(msgspec.Struct, frozen=True):
    """One server under one load. CPU in microseconds, times in milliseconds; `others` in cores, what the machine did
    beside.
    """

    server: str
    mode: str
    round: int
    events: int
    broken: int
    cpu_per_event: float
    cpu_per_request: float
    database_cpu_per_event: float
    client_cpu_per_event: float
    first_text_p50: float
    first_text_p99: float
    lateness_p50: float
    lateness_p99: float
    gap_p99: float
    others: float


def load(plan: Plan) -> Seen:
    """What a client process saw."""
    client = [sys.executable, "-m", "bench.load"]
    with tempfile.TemporaryFile() as seen:  # megabytes, of which a pipe would hold up the client that writes them
        subprocess.run(client, input=msgspec.json.encode(plan), stdout=seen, check=True)
        seen.seek(0)
        return msgspec.json.decode(seen.read(), type=Seen)


def plan(server: Server, running: Running, mode: Mode) -> Plan:
    return Plan(
        running.port, server.request(running, mode.prompt), mode.streams, mode.at_once, mode.spread, seconds=120
    )


def measure(server: Server, running: Running, mode: Mode, number: int, upstream: psutil.Process) -> Measured:
    machine, cpu, database, answering = _busy(), running.cpu(), running.cpu_beside(), own_cpu(upstream)
    seen = load(plan(server, running, mode))
    time.sleep(server.afterwards)
    cpu, database, answering = running.cpu() - cpu, running.cpu_beside() - database, own_cpu(upstream) - answering
    others = _busy() - machine - cpu - database - answering - seen.cpu
    events = max(seen.events, 1)
    return Measured(
        server=server.name,
        mode=mode.name,
        round=number,
        events=seen.events,
        broken=seen.broken,
        cpu_per_event=cpu / events * 1e6,
        cpu_per_request=cpu / mode.streams * 1e6,
        database_cpu_per_event=database / events * 1e6,
        client_cpu_per_event=(seen.cpu + answering) / events * 1e6,
        first_text_p50=quantile(seen.first_text, 0.5),
        first_text_p99=quantile(seen.first_text, 0.99),
        lateness_p50=quantile(seen.lateness, 0.5),
        lateness_p99=quantile(seen.lateness, 0.99),
        gap_p99=quantile(seen.gaps, 0.99),
        others=max(0.0, others / (seen.seconds + server.afterwards)),
    )


def warm(server: Server, running: Running) -> None:
    """The SDK is imported, plans are made, connections are open."""
    mode = Mode("warm", "", 200, 20, 5)
    seen = load(plan(server, running, mode))
    if seen.broken:
        raise RuntimeError(f"{server.name}: {seen.broken} of {mode.streams} short answers broke")


@contextmanager
def alone(server: Server) -> Iterator[Running]:
    """The server warm, in a process of its own, on an upstream of its own."""
    port = free_port(HOST)
    with python("bench.upstream", str(port)):
        wait_for(port)
        with server.start(port) as running:
            warm(server, running)
            yield running


def quantile(values: Sequence[float], share: float) -> float:
    """NaN where there are none."""
    if not values:
        return float("nan")
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def _busy() -> float:
    """Seconds that the machine's cores have worked."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
