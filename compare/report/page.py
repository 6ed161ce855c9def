"""From results and an answer to the page. Whatever comes from targets is text in it, never markup."""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from compare.cost.answer import Answer
from compare.cost.bill import TITLES, money, number
from compare.report import cost_figures, speed_figures
from compare.report.words import assumed, headline, limits, method, summary, warnings
from compare.results import MEASURES, Estimate, Measure, Results

# Those with a curve beside their quantiles; cold starts have a table of their own.
_CURVES: Final[tuple[Measure, ...]] = ("ttft", "gap")
_OF_STARTS: Final[tuple[Measure, ...]] = ("ttft_cold", "ttft_restored")


def page(results: Results | None, answer: Answer | None) -> str:
    """HTML that needs nothing from elsewhere. Without results it is about cost alone, without an answer about speed."""
    measures = _measures(results)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            results=results,
            answer=answer,
            headline=headline(results, answer),
            summary=summary(results),
            warnings=warnings(results, answer),
            measures=measures,
            figures={measure: _figures(measure, results) for measure, _ in measures} if results else {},
            curves=cost_figures.curves(answer) if answer else None,
            map=cost_figures.cost_map(answer) if answer else None,
            titles=TITLES,
            assumed=assumed(answer) if answer else [],
            method=method(results) if results else [],
            limits=limits(results, answer),
        )
    )


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=number, money=money, ends=_ends)
    return made


def _measures(results: Results | None) -> list[tuple[Measure, str]]:
    """Those of which there is something, in the order of a report."""
    targets = results.targets if results else []
    return [
        (measure, says)
        for measure, says in MEASURES.items()
        if measure not in _OF_STARTS and any(measure in target.measures for target in targets)
    ]


def _figures(measure: Measure, results: Results) -> dict[str, Markup | None]:
    return {
        "quantiles": speed_figures.quantiles(measure, results.targets),
        "shares": speed_figures.shares(measure, results.targets) if measure in _CURVES else None,
    }


def _ends(estimate: Estimate) -> str:
    low, high = ("?" if end is None else number(end) for end in (estimate.low, estimate.high))
    return f"{low} to {high}"
