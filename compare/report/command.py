"""`python -m compare report`: a page from the results of a run, or from one's own numbers alone."""

from pathlib import Path
from typing import Any

import click

from compare import results as kept
from compare.cost.options import FILE, of_cost, told_plainly, worked_out
from compare.report.write import write
from compare.results import Results


@click.command()
@click.argument("results", required=False, type=FILE)
@of_cost
@click.option("--html", default="report.html", type=click.Path(path_type=Path), show_default=True)
def report(results: Path | None, html: Path, **chosen: Any) -> None:
    """Write a page, and all its figures as JSON beside it.

    RESULTS is what `run` wrote; without it the page is about cost alone.
    """
    with told_plainly():
        measured = kept.read(results) if results else None
        told = None if measured and not _came_whole(measured) else worked_out(measured, chosen)
        beside = write(measured, told, html)
    click.echo(f"The report is {html}, its figures are in {beside}.")


def _came_whole(results: Results) -> bool:
    return any(target.counts.whole for target in results.targets)
