"""From single measurements to figures: medians over rounds, their spread, and ratios between servers of one run."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.modes import Measured

# Of the medians: with more between the rounds, a difference of a tenth cannot be told.
NOISY_SPREAD: Final = 0.25
# In cores, and on the average.
NOISY_OTHERS: Final = 0.25
_RESAMPLES: Final = 5000


@dataclass(frozen=True, slots=True)
class Figure:
    """A median over rounds with the least and the most."""

    median: float
    least: float
    most: float

    @property
    def spread(self) -> float:
        return (self.most - self.least) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median over rounds with the ends of its 95 % interval."""

    median: float
    low: float
    high: float


def figure(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))


def estimate(values: Sequence[float]) -> Estimate:
    """The interval is the bootstrap's: that of the medians of as many rounds, drawn from these at random."""
    chance = random.Random(0)
    drawn = [statistics.median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES)]
    low, *_, high = statistics.quantiles(drawn, n=40)
    return Estimate(statistics.median(values), low, high)


def of(measured: Sequence[Measured], mode: str, server: str, value: Callable[[Measured], float]) -> list[float]:
    """One value a round, in the order of the rounds."""
    return [value(each) for each in measured if each.mode == mode and each.server == server]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Round by round, so that what disturbs a whole round disturbs both."""
    return figure([mine / other for mine, other in zip(ours, theirs, strict=True)])


def complaints(measured: Sequence[Measured]) -> list[str]:
    """Why these measurements may not be good enough to tell."""
    return [*_disturbed(measured), *_unsteady(measured), *_limited(measured), *_broken(measured)]


def _disturbed(measured: Sequence[Measured]) -> list[str]:
    others = statistics.mean([each.others for each in measured if each.server != "upstream itself"] or [0.0])
    return [f"other processes took {others:.2f} cores meanwhile"] if others > NOISY_OTHERS else []


def _unsteady(measured: Sequence[Measured]) -> list[str]:
    """The CPU of each server between its rounds."""
    pairs = dict.fromkeys((each.mode, each.server) for each in measured)
    spreads = {pair: figure(of(measured, *pair, lambda each: each.cpu_per_event)).spread for pair in pairs}
    return [
        f"{server} in {mode}: {spread:.0%} between the rounds"
        for (mode, server), spread in spreads.items()
        if spread > NOISY_SPREAD and server != "upstream itself"
    ]


def _limited(measured: Sequence[Measured]) -> list[str]:
    """The bench itself may be what was measured, where it needs more CPU than the server."""
    return [
        f"{server} in {mode}: the load needs more CPU than the server"
        for mode, server in dict.fromkeys(
            (each.mode, each.server) for each in measured if each.server != "upstream itself"
        )
        if statistics.median(of(measured, mode, server, lambda each: each.client_cpu_per_event))
        > 3 * statistics.median(of(measured, mode, server, lambda each: each.cpu_per_event))
    ]


def _broken(measured: Sequence[Measured]) -> list[str]:
    return [f"{each.server} in {each.mode}: {each.broken} streams broke" for each in measured if each.broken]
