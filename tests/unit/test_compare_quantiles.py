"""Quantiles lie in their intervals as often as these say, whether values are independent or not."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from compare.measures.quantiles import RATIO, distribution
from compare.measures.samples import Samples
from compare.results import Distribution, Estimate

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
RUNS = 200


def filled(values: np.ndarray, moments: np.ndarray | None = None) -> Samples:
    samples = Samples()
    when = np.linspace(0, 100, len(values)) if moments is None else moments
    for at, value in zip(when, values, strict=True):
        samples.add(at, value)
    return samples


def told(samples: Samples) -> Distribution:
    found = distribution(samples)
    assert found is not None
    return found


def covers(estimate: Estimate, truth: float) -> bool:
    return (estimate.low is None or estimate.low <= truth) and (estimate.high is None or truth <= estimate.high)


@pytest.mark.parametrize("name", QUANTILES)
def test_intervals_of_independent_values_cover_the_truth_as_often_as_they_say(name: str) -> None:
    truth = math.exp(4 + 0.5 * NormalDist().inv_cdf(QUANTILES[name]))
    draw = np.random.default_rng(7)
    covered = sum(covers(getattr(told(filled(draw.lognormal(4, 0.5, 500))), name), truth) for _ in range(RUNS))
    assert covered / RUNS >= 0.93


def test_intervals_are_not_wider_than_they_need_be() -> None:
    """About 1.96 standard errors of a median to each side."""
    draw = np.random.default_rng(8)
    widths = [told(filled(draw.normal(1000, 100, 1000))).p50 for _ in range(20)]
    mean = np.mean([each.high - each.low for each in widths if each.high and each.low])
    assert 2 * 1.96 * 1.2533 * 100 / math.sqrt(1000) == pytest.approx(mean, rel=0.3)


def test_values_that_resemble_their_neighbours_tell_less() -> None:
    """A target that is slower at times: of 3000 values there are 60 that are independent."""
    draw = np.random.default_rng(9)
    covered, effective = 0, []
    for _ in range(RUNS):
        found = told(filled(np.repeat(draw.normal(100, 10, 60), 50) + draw.normal(0, 1, 3000)))
        covered += covers(found.p50, 100)
        effective.append(found.effective_n)
    assert covered / RUNS >= 0.93
    assert 40 < np.median(effective) < 120


def test_an_end_that_the_sample_cannot_tell_is_unknown() -> None:
    found = told(filled(np.random.default_rng(1).normal(100, 5, 200)))
    assert found.p50.low is not None
    assert found.p50.high is not None
    assert found.p999.low is not None
    assert found.p999.high is None


@pytest.mark.parametrize("n", [1, 2, 5, 39, 40, 41])
def test_small_samples_have_their_values(n: int) -> None:
    found = told(filled(np.arange(1, n + 1)))
    assert found.p50.value == math.ceil(n / 2)
    assert found.p999.value == n
    assert found.n == n


def test_no_samples_have_no_distribution() -> None:
    assert distribution(Samples()) is None


def test_the_histogram_has_every_value_in_its_bucket() -> None:
    found = told(filled(np.array([0.0, 5.0, 5.0, 900.0])))
    assert sum(count for _, count in found.histogram.buckets) == 4
    bucket, count = found.histogram.buckets[1]
    assert count == 2
    assert RATIO**bucket <= 5 < RATIO ** (bucket + 1)
