"""Cost over traffic, and where the cheapest home changes: found on the real curves, with their steps."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from compare.cost import bills, capacity
from compare.cost.bill import Home
from compare.cost.deployment import Deployment
from compare.cost.prices import Prices
from compare.cost.workload import Workload

Curve = Callable[[float], float]
"""Dollars a month, by streams an hour."""

_GRID: Final = 400
_STEPS: Final = 2000
# So near to a point that nothing but a step lies between.
_BESIDE: Final = 1e-8


@dataclass(frozen=True, slots=True)
class Flip:
    """At so many streams an hour, `below` hands over to `above` as the cheapest home, each at so much a month."""

    streams_per_hour: float
    below: Home
    above: Home
    usd: float


def curve(home: Home, deployment: Deployment, workload: Workload, prices: Prices) -> Curve:
    """Without what all homes share."""

    def usd(streams_per_hour: float) -> float:
        return bills.own_usd(home, deployment, workload.with_streams(streams_per_hour), prices)

    return usd


def cheapest(curves: Mapping[Home, Curve], streams_per_hour: float) -> Home:
    return min(curves, key=lambda home: curves[home](streams_per_hour))


def flips(curves: Mapping[Home, Curve], points: Sequence[float]) -> list[Flip]:
    """All changes of the cheapest home between the first and the last point, to a part in 10^12.

    Two changes between neighbouring points may be missed, so the points should include the steps of the curves.
    """
    found: list[Flip] = []
    homes = [cheapest(curves, point) for point in points]
    for index in range(len(points) - 1):
        low, high, home = points[index], points[index + 1], homes[index]
        while home != homes[index + 1]:
            at, above = _change(curves, low, high, home)
            found.append(Flip(at, home, above, curves[home](at * (1 - _BESIDE))))
            low, home = at, above
    return found


def _change(curves: Mapping[Home, Curve], low: float, high: float, home: Home) -> tuple[float, Home]:
    """The least point past which another home is cheapest, and which."""
    other = cheapest(curves, high)
    for _ in range(60):
        middle = (low + high) / 2
        at_middle = cheapest(curves, middle)
        low, high, other = (middle, high, other) if at_middle == home else (low, middle, at_middle)
    return high, other


def points(deployment: Deployment, workload: Workload, low: float, high: float) -> list[float]:
    """Streams an hour to look at: evenly on a logarithmic scale, and on both sides of each step of tasks."""
    ratio = (high / low) ** (1 / _GRID)
    grid = {low * ratio**index for index in range(_GRID + 1)}
    stepped = (step for step in _steps(deployment, workload, high) if step >= low)
    return sorted(grid.union(*((step, step * (1 + _BESIDE)) for step in stepped)))


def _steps(deployment: Deployment, workload: Workload, high: float) -> list[float]:
    tasks, instances = deployment.on_fargate, deployment.on_managed_instances
    of_tasks = capacity.steps(workload, high, holds=tasks.streams_per_task, headroom=tasks.headroom, at_most=_STEPS)
    of_instances = capacity.steps(
        workload, high, holds=instances.streams_per_instance, headroom=instances.headroom, at_most=_STEPS
    )
    return of_tasks + of_instances


def next_flip(found: Sequence[Flip], streams_per_hour: float) -> Flip | None:
    """The first one above."""
    index = bisect.bisect_right([flip.streams_per_hour for flip in found], streams_per_hour)
    return found[index] if index < len(found) else None
