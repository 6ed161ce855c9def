"""The shapes of load. Each is a name, the numbers that make it, and the arrivals that follow from both and a seed."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from compare.load.arrivals import Arrival, Turn, poisson
from compare.results import Profile

# How much higher the day's peak is than its mean, and at which share of it.
_PEAK = 2.0
_PEAK_AT = 14 / 24


class Load(Protocol):
    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        """In the order of their moments."""

    def told(self) -> Profile: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shaped:
    """`rate` is requests a second to each target, on the average; lengths are tokens of each request."""

    seconds: float
    rate: float
    input_tokens: int
    output_tokens: int

    @property
    def _turn(self) -> tuple[Turn]:
        return (Turn(self.input_tokens, self.output_tokens),)

    def told(self) -> Profile:
        return Profile(type(self).__name__.lower(), asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady(_Shaped):
    """The same rate all the time."""

    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        return [Arrival(at, self._turn) for at in poisson(lambda _: self.rate, self.rate, self.seconds, draw)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(_Shaped):
    """Silence for `idle` seconds, then all that the rate would have brought meanwhile within `within` seconds."""

    idle: float = 20.0
    within: float = 1.0

    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        period = self.idle + self.within
        high = self.rate * period / self.within

        def rate(at: float) -> float:
            return high if at % period >= self.idle else 0.0

        return [Arrival(at, self._turn) for at in poisson(rate, high, self.seconds, draw)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp(_Shaped):
    """From nothing to twice the rate."""

    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        def rate(at: float) -> float:
            return 2 * self.rate * at / self.seconds

        return [Arrival(at, self._turn) for at in poisson(rate, 2 * self.rate, self.seconds, draw)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day(_Shaped):
    """A day in the run's time: a sine with its peak of twice the mean in the early afternoon, and silence at night."""

    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        def rate(at: float) -> float:
            return self.rate * (1 + (_PEAK - 1) * math.cos(2 * math.pi * (at / self.seconds - _PEAK_AT)))

        return [Arrival(at, self._turn) for at in poisson(rate, _PEAK * self.rate, self.seconds, draw)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chats(_Shaped):
    """People who think: `turns` requests each, a pause of `think` seconds on the average before each but the first.

    A request is due when its pause after the last answer's end is over, and brings the history along. `rate` is that of
    requests, if answers take no time.
    """

    turns: int = 4
    think: float = 5.0

    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        people = self.rate / self.turns
        return [Arrival(at, tuple(self._chat(draw))) for at in poisson(lambda _: people, people, self.seconds, draw)]

    def _chat(self, draw: random.Random) -> Sequence[Turn]:
        one = self.input_tokens + self.output_tokens
        pauses = [0.0, *(draw.expovariate(1 / self.think) for _ in range(self.turns - 1))]
        return [
            Turn(self.input_tokens + number * one, self.output_tokens, pause) for number, pause in enumerate(pauses)
        ]


SHAPES = {shape.__name__.lower(): shape for shape in (Steady, Burst, Ramp, Day, Chats)}
