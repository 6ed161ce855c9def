"""Figures of what it costs: by how much traffic, and by how much and how long."""

from typing import Final

import numpy as np
from markupsafe import Markup

from compare.cost.answer import HOMES, Answer
from compare.cost.bill import TITLES, Home
from compare.report.figures import INK, Style, drawing, styles

_STYLES: Final[dict[Home, Style]] = dict(zip(HOMES, styles(HOMES), strict=True))


def curves(answer: Answer) -> Markup:
    """Dollars a month of each home by streams an hour, with the flips and the traffic that was asked for."""
    says = "Cost by traffic, one curve for each home; the table below has the points where the cheapest one changes."
    with drawing("curves", says, height=3.8) as drawn:
        axes = drawn.axes
        for home, line in answer.curves.items():
            colour, dashes, _ = _STYLES[home]
            streams, usd = zip(*line, strict=True)
            axes.plot(streams, usd, color=colour, linestyle=dashes, linewidth=1.8, label=TITLES[home])
        for flip in answer.flips:
            axes.plot([flip.streams_per_hour], [flip.usd], "o", color=INK, markersize=4.5)
        axes.axvline(answer.workload.streams_per_hour, color=INK, linewidth=0.8, linestyle=":")
        drawn.logarithmic("x", "y")
        axes.set(xlabel="streams an hour", ylabel="$ a month, without what they share")
        axes.legend(loc="upper left")
    return drawn.svg


def cost_map(answer: Answer) -> Markup:
    """The cheapest home by streams an hour and their length."""
    says = (
        "The cheapest home by how many streams there are an hour and how long they take; the table below says it too."
    )
    shown = answer.map
    with drawing("map", says, height=3.8) as drawn:
        axes = drawn.axes
        for home in answer.curves:
            here = np.array([[each == home for each in row] for row in shown.cheapest], dtype=float)
            if not here.any():
                continue
            axes.contourf(
                shown.streams_per_hour, shown.seconds, here, levels=[0.5, 1.5], colors=[_STYLES[home][0]], alpha=0.3
            )
            row, column = _middle(here)
            axes.text(shown.streams_per_hour[column], shown.seconds[row], TITLES[home], ha="center", va="center")
        axes.plot([answer.workload.streams_per_hour], [answer.workload.stream_seconds], "P", color=INK, markersize=8)
        drawn.logarithmic("x", "y")
        axes.set(xlabel="streams an hour (cross: this traffic)", ylabel="seconds a stream")
    return drawn.svg


def _middle(here: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> tuple[int, int]:
    """Of the points where a home is the cheapest, the one nearest to their mean."""
    points = np.argwhere(here > 0)
    nearest = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
    return int(nearest[0]), int(nearest[1])
