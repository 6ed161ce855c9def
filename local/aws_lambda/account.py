"""What a function did, and what Lambda would bill for."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from local.aws_lambda.function import Function


@dataclass(slots=True)
class Account:
    """Lists of milliseconds, one of each kind of event."""

    inits: list[float] = field(default_factory=list)
    restores: list[float] = field(default_factory=list)
    invocations: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    throttled: int = 0

    def failed(self, type: str) -> None:
        self.failures[type] = self.failures.get(type, 0) + 1

    def billed(self, function: Function) -> int:
        """Milliseconds, each invocation rounded up; the start is billed too, unless a snapshot was taken of it."""
        inits = [] if function.snapstart else self.inits
        return sum(map(math.ceil, (*inits, *self.restores, *self.invocations)))

    def table(self, function: Function) -> str:
        billed = self.billed(function)
        rows = [
            ("cold starts", *_spread([] if function.snapstart else self.inits)),
            ("snapshots", *_spread(self.inits if function.snapstart else [])),
            ("restores", *_spread(self.restores)),
            ("invocations", *_spread(self.invocations)),
            *((f"  failed: {type}", str(count), "") for type, count in sorted(self.failures.items())),
            ("  throttled", str(self.throttled or ""), ""),
            ("billed", f"{billed} ms", f"{billed / 1000 * function.memory / 1024:.3f} GB-s at {function.memory} MB"),
        ]
        return "\n".join(_lines([row for row in rows if row[1]]))


def _spread(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "", ""
    least, median, most = min(values), statistics.median(values), max(values)
    return str(len(values)), f"{least:.0f} / {median:.0f} / {most:.0f} ms (least / median / most)"


def _lines(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for name, count, more in rows:
        yield f"{name:<34}{count:>12}   {more}".rstrip()
