"""What differs between two targets, or between two runs of one, by more than noise.

A quantile has changed if the share of values below it has: the values of both are split at the quantile of both
together, and the two shares are compared by Fisher's exact test, which assumes no distribution, with as many values as
each `effective_n` says. All comparisons are made at once, so the p-values are corrected for their number, whatever they
have to do with each other (Y. Benjamini and D. Yekutieli, 2001). Where nothing has changed, one comparison of twenty
says that something has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from compare.results import MEASURES, Distribution, Estimate, Measure, Results, Target

SIGNIFICANCE: Final = 0.05
Quantile = Literal["p50", "p90", "p99", "p999"]
QUANTILES: Final[dict[Quantile, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
Rate = Literal["failed", "resumed", "cold"]


@dataclass(frozen=True, slots=True)
class Change:
    """`what` is a quantile of `measure`, or a rate of requests where `measure` is None.

    `p` is corrected for the number of comparisons; `beyond_noise` is what it says at `SIGNIFICANCE`.
    """

    target: str
    measure: Measure | None
    what: Quantile | Rate
    before: Estimate
    after: Estimate
    p: float

    @property
    def beyond_noise(self) -> bool:
        return self.p < SIGNIFICANCE

    @property
    def ratio(self) -> float | None:
        """After, in times of before; None where before is 0."""
        return self.after.value / self.before.value if self.before.value else None


def between_runs(before: Results, after: Results) -> list[Change]:
    """Of the targets that both have, by their names."""
    later = {target.name: target for target in after.targets}
    pairs = [(target, later[target.name]) for target in before.targets if target.name in later]
    return between(pairs)


def between(pairs: Sequence[tuple[Target, Target]]) -> list[Change]:
    """Every comparison that can be made, in the order of a report; named by the first target of each pair."""
    found = [change for before, after in pairs for change in _of_pair(before, after)]
    if not found:
        return []
    corrected = stats.false_discovery_control([change.p for change in found], method="by")
    return [replace(change, p=float(p)) for change, p in zip(found, corrected, strict=True)]


def _of_pair(before: Target, after: Target) -> Iterator[Change]:
    for measure in MEASURES:
        if measure in before.measures and measure in after.measures:
            yield from _of_measure(before.name, measure, before.measures[measure], after.measures[measure])
    yield from _of_rates(before, after)


def _of_measure(name: str, measure: Measure, before: Distribution, after: Distribution) -> Iterator[Change]:
    for what, share in QUANTILES.items():
        table = _split(before, after, share)
        # A share that neither has a whole value of has nothing to say.
        if table.sum(axis=0).min() >= 1:
            yield Change(name, measure, what, getattr(before, what), getattr(after, what), _fisher(table))


def _split(before: Distribution, after: Distribution, share: float) -> NDArray[np.integer[Any]]:
    """Effective values of both below and above the bucket's end that is nearest to the quantile of both together."""
    buckets = sorted({bucket for each in (before, after) for bucket, _ in each.histogram.buckets})
    shares = [_shares_below(each, buckets) for each in (before, after)]
    weights = np.array([before.effective_n, after.effective_n])
    together = (weights @ np.array(shares)) / weights.sum()
    at = int(np.argmin(np.abs(together - share)))
    below = np.array([each[at] for each in shares]) * weights
    table: NDArray[np.integer[Any]] = np.rint(np.stack([below, weights - below], axis=1)).astype(int)
    return table


def _shares_below(each: Distribution, buckets: Sequence[int]) -> NDArray[np.floating[Any]]:
    counts = dict(each.histogram.buckets)
    return np.cumsum([counts.get(bucket, 0) for bucket in buckets]) / each.n


def _fisher(table: NDArray[np.integer[Any]]) -> float:
    return float(stats.fisher_exact(table).pvalue)


def _of_rates(before: Target, after: Target) -> Iterator[Change]:
    counts = before.counts, after.counts
    yield _rate(before.name, "failed", *((each.failed, each.requests) for each in counts))
    yield _rate(before.name, "resumed", *((each.resumed, each.requests) for each in counts))
    starts = before.starts, after.starts
    if all(each.told for each in starts):
        yield _rate(before.name, "cold", *((each.cold + each.restored, each.told) for each in starts))


def _rate(name: str, what: Rate, before: tuple[int, int], after: tuple[int, int]) -> Change:
    table = np.array([[some, of - some] for some, of in (before, after)])
    return Change(name, None, what, _share(*before), _share(*after), _fisher(table))


def _share(some: int, of: int) -> Estimate:
    """With its exact binomial interval (C. J. Clopper and E. S. Pearson, 1934)."""
    if not of:
        return Estimate(0.0, None, None)
    interval = stats.binomtest(some, of).proportion_ci(0.95)
    return Estimate(some / of, float(interval.low), float(interval.high))
