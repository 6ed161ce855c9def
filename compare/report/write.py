"""A report on disk: the page, and beside it all its figures as JSON."""

from pathlib import Path

import msgspec

from compare.cost.answer import Answer
from compare.report.page import page
from compare.results import Results


class Report(msgspec.Struct, frozen=True):
    results: Results | None
    answer: Answer | None


def write(results: Results | None, answer: Answer | None, html: Path) -> Path:
    """Write both, and say where the JSON is: beside the page, as NAME.report.json, for a run may be in NAME.json.

    Raises:
        OSError: they cannot be written.
    """
    html.write_text(page(results, answer), encoding="utf-8")
    beside = html.with_suffix(".report.json")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(Report(results, answer))) + b"\n")
    return beside
