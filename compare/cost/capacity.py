"""How many tasks or instances the streams need, hour by hour."""

import math
from dataclasses import dataclass
from typing import Final

from compare.cost.bill import number
from compare.cost.workload import SECONDS_AN_HOUR, Workload

# So that what fills a task exactly needs no second one, for a rounding error.
_EXACT: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Capacity:
    """`mean` and `most` of what runs at once. It is scaled by the hour: up and down within one is not counted."""

    mean: float
    most: int

    def told(self, what: str) -> str:
        """For example `2 tasks`, or `2.5 tasks on the average (most 3)`."""
        if self.mean == self.most:
            return f"{self.most} {what}{'' if self.most == 1 else 's'}"
        return f"{number(self.mean)} {what}s on the average (most {self.most})"


def needed(workload: Workload, *, holds: int, headroom: float, least: int) -> Capacity:
    """Each holds so many streams, of which the share `headroom` is left free for those that come together.

    With 100 streams at once, three standard deviations of a Poisson process are 30 %.
    """
    full = workload.open_streams / (holds * (1 - headroom))
    hours = [max(least, math.ceil(full * factor - _EXACT)) for factor in workload.shape]
    return Capacity(sum(hours) / len(hours), max(hours))


def steps(workload: Workload, upto: float, *, holds: int, headroom: float, at_most: int) -> list[float]:
    """Streams an hour, up to a number of them, at which some hour needs one more.

    None where there are more than `at_most`: then each is too small to matter.
    """
    if not workload.stream_seconds:
        return []
    of_one = holds * (1 - headroom) * SECONDS_AN_HOUR / workload.stream_seconds
    counts = {factor: int(upto * factor / of_one) for factor in set(workload.shape) if factor}
    if sum(counts.values()) > at_most:
        return []
    return sorted({step * of_one / factor for factor, count in counts.items() for step in range(1, count + 1)})
