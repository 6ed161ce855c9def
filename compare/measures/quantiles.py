"""Quantiles with intervals that assume nothing of the distribution, and little of how far values are independent.

Exact binomial intervals between order statistics (G. J. Hahn and W. Q. Meeker, Statistical Intervals, section 5.2), as
wide as those of so many independent values as tell as much as these: what a share of values is worth is seen from how
it scatters between blocks of time, in the manner of E. L. Korn and B. I. Graubard (1998) for surveys. So a slow minute
of a target, or a stream whose gaps are all alike, does not pass for a thousand findings.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from compare.measures.samples import Samples
from compare.results import Distribution, Estimate, Histogram

CONFIDENCE: Final = 0.95
# A bucket is a hundredth wide.
RATIO: Final = 1.01
_LEAST: Final = 0.001
# As many pieces of the run's time; and no look at scatter where a share is of fewer values than this.
_BLOCKS: Final = 60
_FEW: Final = 20

Values = NDArray[np.floating[Any]]


def distribution(samples: Samples) -> Distribution | None:
    """None of no samples."""
    n = len(samples)
    if not n:
        return None
    ordered = np.sort(samples.values)
    effective = n / _design_effect(samples, ordered)
    return Distribution(
        n=n,
        effective_n=effective,
        mean=float(ordered.mean(dtype=np.float64)),
        p50=quantile(ordered, effective, 0.5),
        p90=quantile(ordered, effective, 0.9),
        p99=quantile(ordered, effective, 0.99),
        p999=quantile(ordered, effective, 0.999),
        histogram=_histogram(ordered),
    )


def quantile(ordered: Values, effective: float, share: float) -> Estimate:
    """Of sorted values that tell as much as `effective` independent ones."""
    n, m = len(ordered), max(1, math.floor(effective))
    tail = (1 - CONFIDENCE) / 2
    low = int(stats.binom.ppf(tail, m, share))
    high = int(stats.binom.ppf(1 - tail, m, share)) + 1
    return Estimate(
        float(ordered[math.ceil(share * n) - 1]),
        float(ordered[math.ceil(low / m * n) - 1]) if low > 0 else None,
        float(ordered[math.ceil(high / m * n) - 1]) if high <= m else None,
    )


def _design_effect(samples: Samples, ordered: Values) -> float:
    """How many of these values tell as much as one independent one: the most that any of the usual shares says."""
    n = len(ordered)
    blocks = _blocks(samples.moments)
    sizes = np.bincount(blocks)
    used = int(np.count_nonzero(sizes))
    if used < 2 or n < 2 * _FEW:
        return 1.0
    shares = [share for share in (0.5, 0.9, 0.99) if (1 - share) * n >= _FEW]
    effects = []
    for share in shares:
        below = samples.values <= ordered[math.ceil(share * n) - 1]
        mean = float(below.mean())
        residuals = np.bincount(blocks, weights=below) - mean * sizes
        variance = float(np.square(residuals).sum()) * used / (used - 1)
        if 0 < mean < 1:
            effects.append(variance / (n * mean * (1 - mean)))
    return max([1.0, *effects])


def _blocks(moments: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
    """Which piece of the time each value lies in."""
    began, lasted = float(moments.min()), float(np.ptp(moments)) or 1.0
    blocks: NDArray[np.integer[Any]] = np.minimum((moments - began) / lasted * _BLOCKS, _BLOCKS - 1).astype(int)
    return blocks


def _histogram(ordered: Values) -> Histogram:
    buckets = np.floor(np.log(np.maximum(ordered, _LEAST)) / math.log(RATIO)).astype(int)
    found, counts = np.unique(buckets, return_counts=True)
    return Histogram(RATIO, list(zip(found.tolist(), counts.tolist(), strict=True)))
