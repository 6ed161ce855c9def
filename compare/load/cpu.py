"""CPU time between two moments, of what was looked at now and then."""

import numpy as np


class CpuTime:
    """Moments are of the monotonic clock, CPU in seconds since whenever."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._seconds: list[float] = []

    def add(self, moment: float, seconds: float) -> None:
        self._moments.append(moment)
        self._seconds.append(seconds)

    def cores(self, began: float, over: float) -> float:
        """On the average between these two moments, as if CPU was taken evenly from one look to the next."""
        first, last = np.interp([began, over], self._moments, self._seconds)
        return float(last - first) / (over - began)
