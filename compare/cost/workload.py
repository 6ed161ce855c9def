"""What traffic there is: how many streams, of which length, over which day."""

import math
from functools import lru_cache
from typing import Final

import msgspec

SECONDS_AN_HOUR: Final = 3600
# An hour of the day has at most all of its traffic.
_HOURS_A_DAY: Final = 24
_BUSIEST_HOUR: Final = 14


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Means over a month.

    Attributes:
        streams_per_hour: requests for completions, over all hours of the month.
        stream_seconds: from the request to the end of its answer.
        bytes: sent to the client, of one stream.
        request_bytes: come from the client, of one request.
        log_bytes: written to the log for one stream, metrics included.
        peak: streams in the busiest hour of a day over the mean of its hours, 1 (none is) to 24 (all in one hour).
        hours: streams of each hour, one after the other, where they are known; `peak` then follows from them.
        cold_share: of requests, those that start an environment of Lambda.
        longest_seconds: the longest stream, where it is known.
    """

    streams_per_hour: float = 100.0
    stream_seconds: float = 20.0
    bytes: float = 20_000.0
    request_bytes: float = 4_000.0
    log_bytes: float = 2_000.0
    peak: float = 3.0
    hours: tuple[float, ...] = ()
    cold_share: float = 0.01
    longest_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("streams_per_hour", "stream_seconds", "bytes", "request_bytes", "log_bytes"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} has to be a number of at least 0.")
        if self.hours and min(self.hours) < 0:
            raise ValueError("hours have to be numbers of at least 0.")
        if not 1 <= self.peak <= _HOURS_A_DAY:
            raise ValueError("peak has to be from 1 to 24: no hour is less than the mean, nor more than all of a day.")
        if not 0 <= self.cold_share <= 1:
            raise ValueError("cold_share has to be from 0 to 1.")

    @property
    def shape(self) -> tuple[float, ...]:
        """Of each hour, its streams over the mean: of a day, or of the hours that are known."""
        return _over_mean(self.hours) if any(self.hours) else day(self.peak)

    @property
    def busiest(self) -> float:
        """The busiest hour over the mean."""
        return max(self.shape)

    @property
    def open_streams(self) -> float:
        """At once, on the average (Little's law)."""
        return self.streams_per_hour * self.stream_seconds / SECONDS_AN_HOUR

    @property
    def open_at_peak(self) -> float:
        """At once, in the busiest hour."""
        return self.open_streams * self.busiest

    @property
    def quiet_share(self) -> float:
        """Of hours, those with less than one stream."""
        return sum(1 for each in self.shape if each * self.streams_per_hour < 1) / len(self.shape)

    def with_streams(self, streams_per_hour: float, stream_seconds: float | None = None) -> "Workload":
        """The same, more or fewer or longer ones."""
        seconds = self.stream_seconds if stream_seconds is None else stream_seconds
        return msgspec.structs.replace(self, streams_per_hour=streams_per_hour, stream_seconds=seconds)


@lru_cache(maxsize=64)
def day(peak: float) -> tuple[float, ...]:
    """The hours of a day with one hump, over their mean: a raised cosine to the power that makes its top `peak`."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _hump(middle)[_BUSIEST_HOUR] < peak else (low, middle)
    return _hump(low)


def _hump(power: float) -> tuple[float, ...]:
    waves = ((1 + math.cos(2 * math.pi * (hour - _BUSIEST_HOUR) / _HOURS_A_DAY)) / 2 for hour in range(_HOURS_A_DAY))
    return _over_mean(tuple(wave**power for wave in waves))


@lru_cache(maxsize=64)
def _over_mean(hours: tuple[float, ...]) -> tuple[float, ...]:
    mean = sum(hours) / len(hours)
    return tuple(hour / mean for hour in hours)
