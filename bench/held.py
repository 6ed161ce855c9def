"""What a stream costs while nothing comes: memory and open files of streams that a silent upstream holds open."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.load import Plan
from bench.modes import alone, load
from bench.servers import Server

STREAMS: Final = 1000
# Until all are held and what their starts took has been given back, and as long again to look.
_SETTLING: Final = 12.0
_SILENT: Final = "events=2 rate=0 first=0 hold=1 pad=0"


@dataclass(frozen=True, slots=True)
class Held:
    server: str
    before_mb: float
    kb_each: float
    files_each: float


def measure(server: Server, streams: int = STREAMS) -> Held:
    """In a process of the server's own."""
    with alone(server) as running:
        memory, files = running.memory(), running.files()
        plan = Plan(running.port, server.request(running, _SILENT), streams, streams, spread=4, seconds=_SETTLING + 4)
        client = threading.Thread(target=load, args=[plan])
        client.start()
        time.sleep(_SETTLING)
        held = Held(
            server.name,
            memory / 1e6,
            (running.memory() - memory) / streams / 1000,
            (running.files() - files) / streams,
        )
        client.join()
        return held


def told(every: Sequence[Held]) -> list[dict[str, str]]:
    return [
        {
            "server": held.server,
            "MB before": f"{held.before_mb:.0f}",
            "kB a stream": f"{held.kb_each:.1f}",
            "files a stream": f"{held.files_each:.2f}",
        }
        for held in every
    ]
