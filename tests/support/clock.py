"""A wall clock that tests turn."""

import time


class Clock:
    """Stands in for the module `time` where only `time.time()` is used."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead
