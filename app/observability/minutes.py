"""What is told of an instance once a minute."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from app.observability.context import apart
from app.observability.metrics import meter
from app.observability.names import COUNTED, Metric


class Worst:
    """A figure that comes now and then: the last one, and the worst since somebody took it."""

    def __init__(self) -> None:
        self.last = 0.0
        self._worst = 0.0

    def add(self, value: float) -> None:
        self.last = value
        self._worst = max(self._worst, value)

    def take(self) -> float:
        worst, self._worst = self._worst, 0.0
        return worst


class Figures(msgspec.Struct, frozen=True):
    """How an instance is doing. Times are in milliseconds.

    The figures of the pool are since the process began: connections asked for, how long was waited for them, and how
    long they were in use.
    """

    open_streams: int
    recorder_lag: float
    recorder_backlog: int
    follower_lag: float
    database_requests: int
    database_wait: int
    database_usage: int


_NONE: Final = Figures(0, 0, 0, 0, 0, 0, 0)


class Minutes:
    """Tells the figures that `look` gives, and what was counted since the last time, every `interval` seconds."""

    def __init__(self, look: Callable[[], Figures], interval: float) -> None:
        self._look = look
        self._interval = interval
        self._told_at = time.time()
        self._before = _NONE
        self._counted = Counter(meter.counts)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self.tell()

    def tell_if_due(self) -> None:
        """For a home that freezes processes between requests: there no timer can be relied on, and no other moment."""
        if meter.counts != self._counted or time.time() - self._told_at >= self._interval:
            with apart():
                self.tell()

    def tell(self) -> None:
        # The wall clock: the other one stands still while a process is frozen.
        now = time.time()
        figures, seconds = self._look(), max(now - self._told_at, 0.001)
        before, self._before, self._told_at = self._before, figures, now
        counted, self._counted = Counter(meter.counts) - self._counted, Counter(meter.counts)
        requests = figures.database_requests - before.database_requests
        meter.instance(
            {
                Metric.OPEN_STREAMS: figures.open_streams,
                Metric.RECORDER_LAG: round(figures.recorder_lag, 1),
                Metric.RECORDER_BACKLOG: figures.recorder_backlog,
                Metric.FOLLOWER_LAG: round(figures.follower_lag, 1),
                Metric.DATABASE_WAIT: round((figures.database_wait - before.database_wait) / max(requests, 1), 2),
                Metric.POOL_IN_USE: round((figures.database_usage - before.database_usage) / seconds / 1000, 3),
                **{metric: _sum(counted, metric) for metric in COUNTED},
            }
        )
        for (metric, what), number in counted.items():
            if dimension := COUNTED[metric]:
                meter.instance({metric: number}, **{dimension: what})


def _sum(counted: Counter[tuple[Metric, str]], metric: Metric) -> int:
    return sum(number for (counted_metric, _), number in counted.items() if counted_metric is metric)
