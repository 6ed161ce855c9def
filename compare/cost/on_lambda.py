"""The Lambda home: an environment for each open stream, paid for as long as the stream lasts, waiting included."""

from collections.abc import Iterator

from compare.cost import front_doors
from compare.cost.bill import Line, number
from compare.cost.deployment import OnLambda
from compare.cost.prices import Prices
from compare.cost.workload import SECONDS_AN_HOUR, Workload

# Every month of an account; not for a function with provisioned concurrency.
_FREE_REQUESTS = 1e6
_FREE_GB_SECONDS = 400_000
# Of a streamed answer, and of all of a month.
_FREE_BYTES = 6 * 1024**2
_FREE_GB = 100
# API Gateway and Lambda end a stream there.
LONGEST_SECONDS = 900


def lines(chosen: OnLambda, workload: Workload, prices: Prices) -> Iterator[Line]:
    streams = workload.streams_per_hour * prices.hours
    yield _requests(chosen, streams, prices)
    if chosen.provisioned:
        yield from _provisioned(chosen, workload, prices)
    yield from _on_demand(chosen, workload, prices)
    if chosen.snapstart and not chosen.provisioned:
        yield from _snapstart(chosen, streams * workload.cold_share, prices)
    yield _streamed(streams, workload, prices)
    yield from front_doors.of_function(chosen.front_door, workload, prices)


def _is_free(chosen: OnLambda) -> bool:
    return chosen.free_tier and not chosen.provisioned


def _requests(chosen: OnLambda, streams: float, prices: Prices) -> Line:
    free = min(streams, _FREE_REQUESTS) if _is_free(chosen) else 0
    return Line(
        what="Lambda, requests",
        how=f"{number(streams)} - {number(free)} free" if free else "",
        quantity=streams - free,
        unit="requests",
        price=prices.of("lambda", "requests"),
    )


def _on_demand(chosen: OnLambda, workload: Workload, prices: Prices) -> Iterator[Line]:
    price = prices.of("lambda", f"duration_{chosen.architecture}")
    seconds = beyond_ready(chosen, workload) * SECONDS_AN_HOUR * prices.hours
    whole = seconds * chosen.gigabytes
    free = min(whole, _FREE_GB_SECONDS) if _is_free(chosen) else 0
    yield Line(
        what="Lambda, duration of whole streams",
        how=f"{_streams(chosen, workload, prices, seconds)} x {number(chosen.gigabytes)} GB"
        + (f" - {number(free)} free" if free else ""),
        quantity=whole - free,
        unit="GB-s",
        price=price,
    )
    if not chosen.snapstart and not chosen.provisioned:
        starts = workload.streams_per_hour * prices.hours * workload.cold_share
        yield Line(
            what="Lambda, cold starts",
            how=f"{number(starts)} starts x {number(chosen.init_seconds)} s x {number(chosen.gigabytes)} GB",
            quantity=starts * chosen.init_seconds * chosen.gigabytes,
            unit="GB-s",
            price=price,
        )


def _streams(chosen: OnLambda, workload: Workload, prices: Prices, seconds: float) -> str:
    if chosen.provisioned:
        return f"{number(seconds)} s of streams beyond those kept ready"
    return f"{number(workload.streams_per_hour * prices.hours)} streams x {number(workload.stream_seconds)} s"


def beyond_ready(chosen: OnLambda, workload: Workload) -> float:
    """Streams at once, on the average, for which no provisioned environment is left in their hour."""
    if not chosen.provisioned:
        return workload.open_streams
    beyond = [max(0.0, workload.open_streams * factor - chosen.provisioned) for factor in workload.shape]
    return sum(beyond) / len(beyond)


def _provisioned(chosen: OnLambda, workload: Workload, prices: Prices) -> Iterator[Line]:
    seconds = SECONDS_AN_HOUR * prices.hours
    yield Line(
        what="Provisioned concurrency, kept ready",
        how=f"{chosen.provisioned} x {number(chosen.gigabytes)} GB x {number(seconds)} s",
        quantity=chosen.provisioned * chosen.gigabytes * seconds,
        unit="GB-s",
        price=prices.of("lambda", f"provisioned_idle_{chosen.architecture}"),
    )
    served = workload.open_streams - beyond_ready(chosen, workload)
    yield Line(
        what="Provisioned concurrency, duration",
        how=f"{number(served)} at work on the average x {number(chosen.gigabytes)} GB x {number(seconds)} s",
        quantity=served * chosen.gigabytes * seconds,
        unit="GB-s",
        price=prices.of("lambda", f"provisioned_duration_{chosen.architecture}"),
    )


def _snapstart(chosen: OnLambda, restores: float, prices: Prices) -> Iterator[Line]:
    seconds = SECONDS_AN_HOUR * prices.hours
    yield Line(
        what="SnapStart, snapshots kept",
        how=f"{chosen.versions} x {number(chosen.gigabytes)} GB x {number(seconds)} s",
        quantity=chosen.versions * chosen.gigabytes * seconds,
        unit="GB-s",
        price=prices.of("lambda", "snapstart_cache"),
    )
    yield Line(
        what="SnapStart, restores",
        how=f"{number(restores)} restores x {number(chosen.gigabytes)} GB",
        quantity=restores * chosen.gigabytes,
        unit="GB",
        price=prices.of("lambda", "snapstart_restore"),
    )


def _streamed(streams: float, workload: Workload, prices: Prices) -> Line:
    beyond = streams * max(0.0, workload.bytes - _FREE_BYTES) / 1e9
    return Line(
        what="Lambda, streamed bytes beyond 6 MB a stream",
        how=f"{number(beyond)} GB - {_FREE_GB} free",
        quantity=max(0.0, beyond - _FREE_GB),
        unit="GB",
        price=prices.of("lambda", "streamed"),
    )
