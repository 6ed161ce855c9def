"""Measured values with the moments at which they were measured, as compact as arrays are."""

from array import array

import numpy as np
from numpy.typing import NDArray


class Samples:
    """Values, and seconds since the run began, in single precision: the clock is no better."""

    def __init__(self) -> None:
        self._values = array("f")
        self._moments = array("f")

    def add(self, at: float, value: float) -> None:
        self._values.append(value)
        self._moments.append(at)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def values(self) -> NDArray[np.float32]:
        return np.frombuffer(self._values, np.float32)

    @property
    def moments(self) -> NDArray[np.float32]:
        return np.frombuffer(self._moments, np.float32)
