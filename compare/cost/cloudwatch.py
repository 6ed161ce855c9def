"""Traffic from an export of CloudWatch: what `aws cloudwatch get-metric-data` says to the queries in cloudwatch.json.

The queries ask for Headwater's own metrics (docs/operations.md), in both homes and by the hour. Their ids end in what
they are: `_streams`, `_seconds`, `_longest`, `_cold`, `_restored`. Hours without streams, of which CloudWatch has
nothing, are filled with 0: those at both ends of the time count as those within.
"""

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from compare.cost.workload import SECONDS_AN_HOUR, Workload

QUERIES: Final = Path(__file__).with_name("cloudwatch.json")
# From the first hour that is told to the last one.
_LEAST_HOURS: Final = 2


class ExportError(ValueError):
    """The file is no such export, or there is no traffic in it."""


class _Series(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    timestamps: list[datetime]
    values: list[float]


class _Export(msgspec.Struct, frozen=True, rename="pascal"):
    metric_data_results: list[_Series]


Hours = dict[int, float]
"""Values by the hour, counted since 1970."""


def workload(path: Path, base: Workload) -> Workload:
    """Hours without data between others count as without streams. What an export does not say stays as in `base`.

    Raises:
        OSError: it cannot be read.
        ExportError: it is no such export, or has less than two hours of traffic.
    """
    series = _read(path)
    streams = _sum(series, "streams")
    if len(streams) < _LEAST_HOURS or not any(streams.values()):
        raise ExportError(f"{path} has less than two hours of streams: are namespace, homes and times right?")
    total = sum(streams.values())
    hours = tuple(streams.get(hour, 0.0) for hour in range(min(streams), max(streams) + 1))
    began = sum(_sum(series, "cold").values()) + sum(_sum(series, "restored").values())
    on_lambda = sum(_sum(series, "lambda_streams").values())
    longest = [value / 1000 for each in series if each.id.endswith("_longest") for value in each.values]
    return msgspec.structs.replace(
        base,
        streams_per_hour=total / len(hours),
        stream_seconds=sum(_sum(series, "seconds").values()) / 1000 / total,
        hours=hours,
        cold_share=min(1.0, began / on_lambda) if on_lambda else base.cold_share,
        longest_seconds=max(longest, default=None),
    )


def _read(path: Path) -> list[_Series]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Export).metric_data_results
    except msgspec.DecodeError as error:
        raise ExportError(f"{path} is no answer of `aws cloudwatch get-metric-data`: {error}") from error


def _sum(series: list[_Series], ending: str) -> Hours:
    """Of both homes."""
    hours: Hours = defaultdict(float)
    for each in series:
        if each.id.endswith(ending):
            for moment, value in zip(each.timestamps, each.values, strict=True):
                hours[_hour(moment)] += value
    return hours


def _hour(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) // SECONDS_AN_HOUR
