"""The shapes of load: as many requests as they promise, when they promise them, and the same again by the same seed."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from compare.load.arrivals import Arrival
from compare.load.profiles import SHAPES, Burst, Chats, Day, Ramp

SECONDS = 1000.0
RATE = 5.0


def moments(shape: str, seed: int = 1) -> Sequence[float]:
    load = SHAPES[shape](seconds=SECONDS, rate=RATE, input_tokens=10, output_tokens=20)
    return [arrival.at for arrival in load.arrivals(random.Random(seed))]


@pytest.mark.parametrize("shape", ["steady", "burst", "ramp", "day"])
def test_the_rate_is_that_of_all_the_time(shape: str) -> None:
    """5000 arrivals, give or take 71 by chance: five times that is out of the question."""
    found = moments(shape)
    assert len(found) == pytest.approx(SECONDS * RATE, abs=5 * 71)
    assert found == sorted(found)
    assert 0 <= found[0] < found[-1] < SECONDS


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_makes_the_same_arrivals_again(shape: str) -> None:
    assert moments(shape, 3) == moments(shape, 3)
    assert moments(shape, 3) != moments(shape, 4)


def test_steady_arrivals_are_independent() -> None:
    """Of exponential gaps, a share of 1 - 1/e lies below the mean."""
    found = moments("steady")
    gaps = [after - before for before, after in pairwise(found)]
    assert sum(gap < 1 / RATE for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.035)


def test_a_burst_comes_from_silence() -> None:
    burst = Burst(seconds=SECONDS, rate=RATE, input_tokens=10, output_tokens=20, idle=19, within=1)
    assert all(arrival.at % 20 >= 19 for arrival in burst.arrivals(random.Random(1)))


def test_a_ramp_ends_at_twice_its_rate() -> None:
    ramp = Ramp(seconds=SECONDS, rate=RATE, input_tokens=10, output_tokens=20)
    late = [arrival for arrival in ramp.arrivals(random.Random(1)) if arrival.at > SECONDS / 2]
    assert len(late) == pytest.approx(3 / 4 * SECONDS * RATE, abs=5 * 62)


def test_a_day_has_a_night() -> None:
    day = Day(seconds=24, rate=500, input_tokens=10, output_tokens=20)
    found = [arrival.at for arrival in day.arrivals(random.Random(1))]
    at_night = sum(1 <= at < 3 for at in found)
    in_the_afternoon = sum(13 <= at < 15 for at in found)
    assert in_the_afternoon > 15 * at_night


def test_chats_think_and_bring_their_history() -> None:
    chats = Chats(seconds=SECONDS, rate=RATE, input_tokens=10, output_tokens=20, turns=3, think=5)
    found: Sequence[Arrival] = chats.arrivals(random.Random(1))
    assert sum(len(arrival.turns) for arrival in found) == pytest.approx(SECONDS * RATE, abs=5 * 71 * 2)
    for arrival in found:
        assert [turn.input_tokens for turn in arrival.turns] == [10, 40, 70]
        assert arrival.turns[0].think == 0
    pauses = [turn.think for arrival in found for turn in arrival.turns[1:]]
    assert sum(pauses) / len(pauses) == pytest.approx(5, rel=0.1)


def test_a_profile_is_told_with_every_number_that_makes_it() -> None:
    told = Burst(seconds=60, rate=2, input_tokens=10, output_tokens=20).told()
    assert told.name == "burst"
    assert told.parameters == {
        "seconds": 60,
        "rate": 2,
        "input_tokens": 10,
        "output_tokens": 20,
        "idle": 20,
        "within": 1,
    }
