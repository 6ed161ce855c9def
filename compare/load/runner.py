"""All arrivals of a profile at all targets, each at its moment, whatever became of the ones before."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from typing import Final

from compare.load.address import Address
from compare.load.arrivals import Arrival
from compare.load.asking import Asker
from compare.load.limits import Budget
from compare.load.record import Record

# Of a run that had no time after its warm-up, in seconds.
_LEAST: Final = 0.001


class Runner:
    """`records` has what was seen, also after an interrupt; `left` is how many streams were let go by that."""

    def __init__(
        self, addresses: Sequence[Address], arrivals: Sequence[Arrival], asker: Asker, budget: Budget, warmup: float
    ) -> None:
        self._zero = time.monotonic()
        self._warmup = warmup
        self._arrivals = arrivals
        self._asker = asker
        self._budget = budget
        self._running: asyncio.Task[None] | None = None
        self.left = 0
        self._lasted = 0.0
        self.records = [Record(address, self._zero, warmup) for address in addresses]

    @property
    def measured(self) -> tuple[float, float]:
        """From the end of the warm-up to when the last request was due, by the monotonic clock."""
        began = self._zero + self._warmup
        return began, max(self._zero + self._lasted, began + _LEAST)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._zero

    @property
    def open(self) -> int:
        return sum(record.open for record in self.records)

    async def run(self) -> None:
        """Until the last stream has ended, which is at most `patience` after the last was due; or an interrupt."""
        self._running = asyncio.get_running_loop().create_task(self._run())
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    def interrupt(self) -> None:
        """Let go of what is open: it is in no figure."""
        if self._running is not None:
            self._budget.interrupt()
            self.left = self.open
            self._running.cancel()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as streams:
            for number, arrival in enumerate(self._arrivals):
                await self._until(self._zero + arrival.at)
                if self._budget.stopped_by is not None:
                    break
                # The first one has an advantage, if there is any: it is each target's turn to be that.
                for record in islice(cycle(self.records), number, number + len(self.records)):
                    streams.create_task(self._visit(record, arrival))

    async def _visit(self, record: Record, arrival: Arrival) -> None:
        due = self._zero + arrival.at
        for turn in arrival.turns:
            due += turn.think
            await self._until(due)
            if not self._budget.take(due - self._zero, turn):
                return
            self._lasted = max(self._lasted, due - self._zero)
            record.begin()
            try:
                outcome = await self._asker.ask(record.address, turn, due, partial(record.gap, due))
            finally:
                record.leave()
            self._budget.settle(turn, outcome.answer)
            record.end(outcome)
            due = outcome.over

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(moment - time.monotonic())
