"""What readers of a long answer that has ended take, all at once: CPU, memory, and how long others are kept waiting."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx
import msgspec

from bench.load import Plan
from bench.modes import Mode, alone, load
from bench.servers import Running, Server

READERS: Final = 100
# Its log has 5 MB.
_LONG: Final = Mode("long", "", 1, 1, 25_000, padding=70)
_LOOKED: Final = 0.02
_AT_MOST: Final = 90.0
_UNREAD_FOR: Final = 10.0


@dataclass(frozen=True, slots=True)
class Replays:
    """Times in seconds; `waited` is the longest that a request beside them took."""

    readers: str
    ended: int
    seconds: float
    cpu: float
    peak_mb: float
    waited: float


def measure(server: Server, readers: int = READERS) -> list[Replays]:
    """Readers as fast as they can be, then as many that never read."""
    with alone(server) as running:
        request = _request(running, _completed(server, running))
        plan = Plan(running.port, request, readers, readers, seconds=_AT_MOST)
        unread = msgspec.structs.replace(plan, unread=readers, seconds=_UNREAD_FOR)
        return [_measured("read", running, plan), _measured("never read", running, unread)]


def _completed(server: Server, running: Running) -> str:
    body = server.body(_LONG.prompt)
    answer = httpx.post(f"http://127.0.0.1:{running.port}{server.path}", json=body, headers=running.headers, timeout=60)
    answer.raise_for_status()
    return answer.headers["x-completion-id"]


def _request(running: Running, id: str) -> str:
    headers = "".join(f"{name}: {value}\r\n" for name, value in running.headers.items())
    return f"GET /v1/completions/{id}/stream HTTP/1.1\r\nhost: bench\r\n{headers}\r\n"


def _measured(readers: str, running: Running, plan: Plan) -> Replays:
    cpu, before = running.cpu(), running.memory()
    with _watched(running) as watched:
        seen = load(plan)
    return Replays(
        readers, seen.whole, seen.seconds, running.cpu() - cpu, (watched.peak - before) / 1e6, watched.waited
    )


class _Watched:
    peak = 0
    waited = 0.0


@contextmanager
def _watched(running: Running) -> Iterator[_Watched]:
    """Looks at its memory, and at whether it still answers."""
    watched, ended = _Watched(), threading.Event()

    def look() -> None:
        with httpx.Client() as client:
            while not ended.wait(_LOOKED):
                watched.peak = max(watched.peak, running.memory())
                asked = time.monotonic()
                client.get(f"http://127.0.0.1:{running.port}/livez", timeout=60)
                watched.waited = max(watched.waited, time.monotonic() - asked)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()


def told(every: list[Replays]) -> list[dict[str, str]]:
    return [
        {
            "readers": each.readers,
            "ended": str(each.ended),
            "seconds": f"{each.seconds:.1f}",
            "CPU s": f"{each.cpu:.2f}",
            "MB more at its peak": f"{each.peak_mb:.0f}",
            "longest other request": f"{each.waited * 1000:.0f} ms",
        }
        for each in every
    ]
