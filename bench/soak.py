"""A long time with clients that come and go: what stays behind in memory, files, connections, tasks and the store.

Streams come in waves: whole ones at two paces, short answers, some whose client is gone in the middle, some that nobody
reads. Between two waves nothing is open, and what there is then is looked at.
"""

import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from bench.load import Plan, Seen
from bench.modes import load, warm
from bench.servers import HOST, SERVERS, Running, Server, headwater, python, wait_for
from local.addresses import free_port

# Clients that are gone earlier than their streams have ended, in seconds.
_GONE: Final = 4.0
# Until the generations whose clients are gone have ended too.
_SETTLING: Final = 5.0
# The first waves make plans, fill pools and import what is imported late.
_WARM: Final = 0.2


@dataclass(frozen=True, slots=True)
class Clients:
    """`at_once` of `streams` at a time; some of them never read."""

    says: str
    prompt: str
    streams: int
    at_once: int
    seconds: float = 60.0
    spread: float = 1.0
    unread: int = 0


CLIENTS: Final = (
    Clients("paced", "events=120 rate=24 first=100 hold=0 pad=20", 60, 60),
    Clients("slow", "events=40 rate=5 first=500 hold=0 pad=200", 60, 60),
    Clients("short", "events=5 rate=0 first=0 hold=0 pad=0", 150, 5),
    Clients("gone in the middle", "events=150 rate=24 first=0 hold=0 pad=20", 30, 30, seconds=_GONE),
    Clients("never reading", "events=150 rate=24 first=0 hold=0 pad=2000", 5, 5, seconds=_GONE, unread=5),
)


@dataclass(frozen=True, slots=True)
class Look:
    """At the process after a wave: `minutes` since the start, memory in bytes."""

    minutes: float
    memory: int
    files: int
    tasks: int
    connections: int


@dataclass(frozen=True, slots=True)
class Soaked:
    looks: list[Look]
    whole: int
    events: int
    ends: dict[str, int]
    unsettled: int
    cores: float


def measure(minutes: float) -> Soaked:
    server = SERVERS[0]
    with tempfile.TemporaryDirectory(prefix="hw-soak-") as folder:
        counted = Path(folder) / "tasks"
        port = free_port(HOST)
        with python("bench.upstream", str(port)):
            wait_for(port)
            with headwater(port, command=("bench.soaked", str(counted))) as running:
                warm(server, running)
                return _soak(server, running, counted, minutes)


def _soak(server: Server, running: Running, counted: Path, minutes: float) -> Soaked:
    began, cpu = time.monotonic(), running.cpu()
    looks: list[Look] = []
    seen: list[Seen] = []
    with ThreadPoolExecutor(len(CLIENTS)) as together:
        while time.monotonic() - began < minutes * 60:
            seen += together.map(load, [_plan(server, running, clients) for clients in CLIENTS])
            time.sleep(_SETTLING)
            looks.append(_look(running, counted, (time.monotonic() - began) / 60))
    ends, unsettled = _stored(running)
    return Soaked(
        looks,
        whole=sum(each.whole for each in seen),
        events=sum(each.events for each in seen),
        ends=ends,
        unsettled=unsettled,
        cores=(running.cpu() - cpu) / (time.monotonic() - began),
    )


def _plan(server: Server, running: Running, clients: Clients) -> Plan:
    request = server.request(running, clients.prompt)
    return Plan(
        running.port, request, clients.streams, clients.at_once, clients.spread, clients.seconds, clients.unread
    )


def _look(running: Running, counted: Path, minutes: float) -> Look:
    running.signal(signal.SIGUSR1)
    time.sleep(0.5)
    return Look(
        round(minutes, 1), running.memory(), running.files(), int(counted.read_text()), int(_one(running, _CONNECTIONS))
    )


_CONNECTIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_UNSETTLED: Final = "SELECT count(*) FROM ledger WHERE settled_at IS NULL"


def _one(running: Running, query: str) -> Any:
    assert running.database_url is not None
    with psycopg.connect(running.database_url) as conn:
        return conn.execute(query.encode()).fetchall()[0][0]


def _stored(running: Running) -> tuple[dict[str, int], int]:
    """Completions by what has become of them, and rows of the ledger that are still open."""
    assert running.database_url is not None
    with psycopg.connect(running.database_url) as conn:
        ends: dict[str, int] = dict(
            conn.execute("SELECT status::text, count(*) FROM completions GROUP BY 1 ORDER BY 1").fetchall()
        )
    return ends, int(_one(running, _UNSETTLED))


def told(soaked: Soaked) -> list[dict[str, str]]:
    warm_until = len(soaked.looks) * _WARM
    settled = [look for number, look in enumerate(soaked.looks) if number >= warm_until]
    third = max(1, len(settled) // 3)
    rows = [_row(name, settled[:third], settled[-third:]) for name in ("memory", "files", "tasks", "connections")]
    ends = ", ".join(f"{number:,} {status}" for status, number in soaked.ends.items())
    counts = {
        "waves, minutes": f"{len(soaked.looks)}, {soaked.looks[-1].minutes:g}",
        "completions in the store": ends,
        "ledger rows that are open": str(soaked.unsettled),
        "streams and events that clients had whole": f"{soaked.whole:,}, {soaked.events:,}",
        "cores of the app": f"{soaked.cores:.2f}",
    }
    return [*rows, *({"after a wave": name, "first third": value} for name, value in counts.items())]


def write_json(soaked: Soaked, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(soaked)) + b"\n")


def _row(name: str, first: Sequence[Look], last: Sequence[Look]) -> dict[str, str]:
    earlier, later = (statistics.median(asdict(look)[name] for look in looks) for looks in (first, last))
    scale, unit = (1e6, " MB") if name == "memory" else (1, "")
    change = (later / earlier - 1) * 100
    return {
        "after a wave": name,
        "first third": f"{earlier / scale:.6g}{unit}",
        "last third": f"{later / scale:.6g}{unit}",
        "change": f"{change:+.1f} %",
    }
