"""Figures of what was measured."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from compare.report.figures import Style, drawing, short, styles
from compare.results import MEASURES, Distribution, Estimate, Measure, Target

_QUANTILES: Final = ("p50", "p90", "p99", "p99.9")


def quantiles(measure: Measure, targets: Sequence[Target]) -> Markup:
    """Each quantile of each target, with its interval."""
    measured = [target for target in targets if measure in target.measures]
    says = (
        f"{MEASURES[measure]}: the quantiles of the table, with their intervals, one row for each target and quantile."
    )
    with drawing(f"quantiles-{measure}", says, height=0.9 + 0.75 * len(measured)) as drawn:
        axes = drawn.axes
        for row, (target, (colour, _, mark)) in enumerate(zip(measured, _styles(measured), strict=True)):
            for offset, estimate in enumerate(estimates(target.measures[measure])):
                place = -row - offset * 0.18
                low, high = _ends(estimate)
                axes.plot([low, high], [place, place], color=colour, linewidth=1.6, alpha=0.7)
                axes.plot([estimate.value], [place], mark, color=colour, markersize=5)
                axes.annotate(_QUANTILES[offset], (high, place), (4, -3), textcoords="offset points", fontsize=8.5)
        drawn.logarithmic("x")
        axes.set_yticks([-row - 0.27 for row in range(len(measured))], [short(target.name) for target in measured])
        axes.set_xlabel("tokens a second" if measure == "tokens_per_second" else "ms")
        axes.grid(axis="y", visible=False)
    return drawn.svg


def _styles(targets: Sequence[Target]) -> list[Style]:
    return styles([target.home for target in targets])


def estimates(distribution: Distribution) -> tuple[Estimate, ...]:
    return (distribution.p50, distribution.p90, distribution.p99, distribution.p999)


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Where there is no end that could be told, the value itself."""
    low = estimate.value if estimate.low is None else estimate.low
    return low, estimate.value if estimate.high is None else estimate.high


def shares(measure: Measure, targets: Sequence[Target]) -> Markup:
    """What share of the values lies below: one curve a target."""
    measured = [target for target in targets if measure in target.measures]
    says = f"{MEASURES[measure]}: the share of values that lie below, one curve for each target."
    with drawing(f"shares-{measure}", says) as drawn:
        axes = drawn.axes
        for target, (colour, dashes, _) in zip(measured, _styles(measured), strict=True):
            edges, below = _curve(target.measures[measure])
            axes.step(edges, below, where="post", color=colour, linestyle=dashes, label=short(target.name))
        drawn.logarithmic("x")
        axes.set(xlabel="ms", ylabel="share below, %", ylim=(0, 101))
        axes.legend(loc="lower right")
    return drawn.svg


def _curve(distribution: Distribution) -> tuple[list[float], list[float]]:
    """Upper edges of the buckets, and the percentage of values below each."""
    ratio, buckets = distribution.histogram.ratio, distribution.histogram.buckets
    edges, below, seen = [], [], 0
    for bucket, count in buckets:
        seen += count
        edges.append(ratio ** (bucket + 1))
        below.append(100 * seen / distribution.n)
    return edges, below
