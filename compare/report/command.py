"""`python -m compare report` and `diff`: a page of a run or of one's own numbers, and what changed between two runs."""

from pathlib import Path
from typing import Any

import click
import msgspec

from compare import results as kept
from compare.cost.options import FILE, of_cost, told_plainly, worked_out
from compare.report.changes import changes, text
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


@click.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every comparison here.")
def diff(before: Path, after: Path, json_path: Path | None) -> None:
    """Say what changed from one run to another beyond noise, by the names of their targets."""
    with told_plainly():
        found = changes(kept.read(before), kept.read(after))
        if json_path is not None:
            json_path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    click.echo(text(found))


def _came_whole(results: Results) -> bool:
    return any(target.counts.whole for target in results.targets)
