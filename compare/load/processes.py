"""What a target's processes take, where they are on this machine."""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

import psutil

from compare.load.cpu import CpuTime
from compare.results import Usage

_EVERY: Final = 1.0


class Processes:
    """A process and all that it has started, from now on."""

    def __init__(self, pid: int) -> None:
        """
        Raises:
            psutil.NoSuchProcess: there is none.
        """
        self._process = psutil.Process(pid)
        self._cpu = CpuTime()
        self._memory = 0
        self._look()

    async def watch(self) -> None:
        """Look at them now and then, until it is cancelled or they have ended."""
        with suppress(psutil.NoSuchProcess):
            while True:
                self._look()
                await asyncio.sleep(_EVERY)

    def _look(self) -> None:
        self._cpu.add(time.monotonic(), _cpu(self._process))
        self._memory = max(self._memory, _memory(self._process))

    def told(self, began: float, over: float) -> Usage | None:
        """Cores between these moments of the monotonic clock. None if they have ended."""
        try:
            self._look()
        except psutil.NoSuchProcess:
            return None
        return Usage(self._cpu.cores(began, over), self._memory)


def _cpu(process: psutil.Process) -> float:
    """Seconds, also of those that have ended and were waited for."""
    seconds = _own(process.cpu_times())
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            seconds += _own(child.cpu_times())
    return seconds


def _own(times: Any) -> float:
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory(process: psutil.Process) -> int:
    """Bytes resident."""
    found = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            found += each.memory_info().rss
    return found
