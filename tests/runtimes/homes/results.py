"""The table of results: what was tried, on which home, with what came of it, and what was measured."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from local.aws_lambda.adapter import built_adapter

# The property that a test records its figures by.
MEASURED: Final = "measured"


class Results:
    """A column a home. Tests that bring their own function have one for each kind of it."""

    def __init__(self, homes: Sequence[str]) -> None:
        self._columns = list(homes)
        self._rows: dict[str, dict[str, str]] = {}
        self._measured: list[str] = []

    def add(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """A test has passed if all its phases have."""
        assert isinstance(item, pytest.Function)
        name = item.originalname.removeprefix("test_").replace("_", " ")
        column = item.callspec.id if hasattr(item, "callspec") else "alone"
        if column not in self._columns:
            self._columns.append(column)
        cells = self._rows.setdefault(name, {})
        if report.failed or (report.when == "call" and report.passed):
            cells[column] = "FAILED" if report.failed or cells.get(column) == "FAILED" else "ok"
        if report.when == "call":
            figures = [value for key, value in report.user_properties if key == MEASURED]
            self._measured += [f"{name} ({column}): {value}" for value in figures]

    def lines(self) -> Iterator[str]:
        used = [column for column in self._columns if any(column in cells for cells in self._rows.values())]
        width = max(map(len, self._rows), default=0)
        yield " | ".join([" " * width, *used])
        for name, cells in self._rows.items():
            yield " | ".join([f"{name:<{width}}", *(f"{cells.get(each, '-'):<{len(each)}}" for each in used)])
        yield from self._measured
        yield f"web adapter beside commands: {_adapter(hooks=False)}; around snapshots: {_adapter(hooks=True)}"


def _adapter(*, hooks: bool) -> str:
    """Its folder is named by its version."""
    adapter = built_adapter(hooks=hooks)
    return Path(adapter).parent.parent.name if "/" in adapter else adapter
