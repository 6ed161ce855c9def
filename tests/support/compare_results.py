"""Results as a run writes them, of made-up targets."""

import math
import random
from datetime import UTC, datetime, timedelta

import msgspec

from compare.results import (
    Client,
    Counts,
    Distribution,
    Estimate,
    Histogram,
    Limits,
    Machine,
    Measure,
    Profile,
    Results,
    Starts,
    Target,
    Traffic,
    Usage,
)

_BEGAN = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
_RATIO = 1.05


def distribution(centre: float, n: int = 1000, seed: int = 1) -> Distribution:
    """Log-normal around `centre`; its intervals are by rank, and roughly as wide as they would be."""
    chance = random.Random(seed)
    values = sorted(chance.lognormvariate(math.log(centre), 0.3) for _ in range(n))
    counts: dict[int, int] = {}
    for value in values:
        bucket = math.floor(math.log(value, _RATIO))
        counts[bucket] = counts.get(bucket, 0) + 1
    p50, p90, p99, p999 = (_estimate(values, share) for share in (0.5, 0.9, 0.99, 0.999))
    return Distribution(n, n / 2, sum(values) / n, p50, p90, p99, p999, Histogram(_RATIO, sorted(counts.items())))


def _estimate(values: list[float], share: float) -> Estimate:
    spread = 2 * math.sqrt(len(values) * share * (1 - share))
    low, high = int(share * len(values) - spread), int(share * len(values) + spread)
    return Estimate(values[int(share * len(values))], values[low], values[high] if high < len(values) else None)


def target(name: str, ttft: float, home: str | None, **changes: object) -> Target:
    measures: dict[Measure, Distribution] = {
        "ttft": distribution(ttft),
        "gap": distribution(ttft / 8, 8000, 2),
        "completion": distribution(ttft * 25, 1000, 3),
        "tokens_per_second": distribution(24, 1000, 4),
    }
    if home == "lambda":
        measures["ttft_cold"] = distribution(ttft * 4, 40, 5)
    made = Target(
        name=name,
        url=f"https://{home}.example.org",
        home=home,
        instances=9 if home == "lambda" else 2,
        counts=Counts(1010, 1000, 4, 3, {"http_503": 5, "timeout": 1}),
        measures=measures,
        starts=Starts(1010, 12 if home == "lambda" else 0, 8 if home == "lambda" else 0),
        traffic=Traffic(900, 12, 18_000, 300, 60, 75),
        usage=None if home == "lambda" else Usage(0.2, 140 * 1024**2),
    )
    return msgspec.structs.replace(made, **changes)


def results(*targets: Target, warnings: tuple[str, ...] = ()) -> Results:
    return Results(
        began=_BEGAN,
        ended=_BEGAN + timedelta(seconds=160),
        machine=Machine("Linux", 2, "3.11.7"),
        profile=Profile("steady", {"requests_per_second": 0.25, "max_tokens": 300}),
        seed=7,
        limits=Limits(180, 5000, 1.0, 0.12, None),
        warmup=10,
        client=Client(0.34, 4.5),
        targets=list(targets) or [target("lambda", 400, "lambda"), target("fargate", 330, "fargate")],
        warnings=list(warnings),
    )
