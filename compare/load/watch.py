"""What the load itself takes, so that a slow client does not pass for a slow target."""

import asyncio
import resource
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from compare.load.cpu import CpuTime
from compare.results import Client

_EVERY: Final = 0.05
# Beyond these the client's own waiting is in the figures.
_BUSY: Final = 0.7
_LATE: Final = 20.0


class Watch:
    """Entered for the time of a run."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._cpu = CpuTime()

    async def __aenter__(self) -> "Watch":
        self._cpu.add(time.monotonic(), _cpu())
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + _EVERY
            await asyncio.sleep(_EVERY)
            now = time.monotonic()
            self._late.append((now - due) * 1000)
            self._cpu.add(now, _cpu())

    def told(self, began: float, over: float) -> Client:
        """A share of one core between these moments of the monotonic clock, and milliseconds of the whole run."""
        lag = float(np.quantile(self._late, 0.99)) if self._late else 0.0
        return Client(self._cpu.cores(began, over), lag)


def warnings(client: Client) -> list[str]:
    """Why its figures may be the client's own."""
    found = []
    if client.cpu_share > _BUSY:
        found.append(
            f"The load took {client.cpu_share:.0%} of a core, which may have been the limit: "
            "use fewer streams, or several machines."
        )
    if client.lag > _LATE:
        found.append(f"The load woke up {client.lag:.0f} ms late at the p99: as much may be its own in every figure.")
    return found


async def tell(progress: Callable[[], str], say: Callable[[str], None], every: float) -> None:
    """Until it is cancelled."""
    while True:
        await asyncio.sleep(every)
        say(progress())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
