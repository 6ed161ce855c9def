"""When requests are due, and how long they are: fixed before the first is sent, so that no slow target delays the next.

All targets get the same arrivals at the same moments: noise of the network, of this machine and of the upstream falls
on each of them alike.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One request: `think` seconds after the end of the one before, its length in tokens."""

    input_tokens: int
    output_tokens: int
    think: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody who comes `at` so many seconds and has one turn, or several one after the other."""

    at: float
    turns: tuple[Turn, ...]


def poisson(rate: Callable[[float], float], most: float, seconds: float, draw: random.Random) -> Sequence[float]:
    """Moments of independent arrivals at `rate(t)` a second, which is `most` at its highest.

    By thinning: P. A. W. Lewis and G. S. Shedler, Simulation of nonhomogeneous Poisson processes by thinning (1979).
    """
    moments: list[float] = []
    at = draw.expovariate(most) if most > 0 else math.inf
    while at < seconds:
        if draw.random() * most < rate(at):
            moments.append(at)
        at += draw.expovariate(most)
    return moments
