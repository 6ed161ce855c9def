"""The table of results: what was tried, on which home, with what came of it, and what was measured."""

from collections.abc import Iterator, Sequence

import pytest

# The property that a test records its figures by.
MEASURED = "measured"
_NOWHERE = "alone"


class Results:
    """A column a home, and one for tests that bring their own function."""

    def __init__(self, homes: Sequence[str]) -> None:
        self._columns = [*homes, _NOWHERE]
        self._rows: dict[str, dict[str, str]] = {}
        self._measured: list[str] = []

    def add(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """A test has passed if all its phases have."""
        assert isinstance(item, pytest.Function)
        name = item.originalname.removeprefix("test_").replace("_", " ")
        home = str(item.callspec.params.get("home", _NOWHERE)) if hasattr(item, "callspec") else _NOWHERE
        if report.failed or (report.when == "call" and report.passed):
            cells = self._rows.setdefault(name, {})
            cells[home] = "FAILED" if report.failed or cells.get(home) == "FAILED" else "ok"
        if report.when == "call":
            self._measured += [f"{name} ({home}): {value}" for key, value in report.user_properties if key == MEASURED]

    def lines(self) -> Iterator[str]:
        used = [column for column in self._columns if any(column in cells for cells in self._rows.values())]
        width = max(map(len, self._rows), default=0)
        yield " | ".join([" " * width, *used])
        for name, cells in self._rows.items():
            yield " | ".join([f"{name:<{width}}", *(f"{cells.get(each, '-'):<{len(each)}}" for each in used)])
        yield from self._measured
