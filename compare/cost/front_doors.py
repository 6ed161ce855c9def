"""What stands in front of a home: an API, a URL, or a load balancer."""

import math
from collections.abc import Iterator

from compare.cost.bill import Line, number
from compare.cost.deployment import FrontDoor
from compare.cost.prices import Prices
from compare.cost.workload import SECONDS_AN_HOUR, Workload

# Of a streamed answer of a REST API, each begun piece of it counts as a request.
_REST_PIECE = 10 * 1024**2
# What one capacity unit (LCU) of a load balancer holds; the largest of the three is billed.
_LCU_NEW_A_SECOND = 25
_LCU_OPEN = 3000
_LCU_BYTES_AN_HOUR = 1e9


def of_function(door: FrontDoor, workload: Workload, prices: Prices) -> Iterator[Line]:
    """A Function URL costs nothing."""
    streams = workload.streams_per_hour * prices.hours
    if door == "rest_api":
        pieces = max(1, math.ceil(workload.bytes / _REST_PIECE))
        yield Line(
            what="REST API, requests",
            how=f"{number(streams)} streams x {pieces} (one for each 10 MB begun)",
            quantity=streams * pieces,
            unit="requests",
            price=prices.of("front_doors", "rest_api"),
        )
    elif door == "http_api":
        price = prices.of("front_doors", "http_api")
        yield Line(what="HTTP API, requests", quantity=streams, unit="requests", price=price)


def load_balancer(workload: Workload, addresses: int, prices: Prices) -> Iterator[Line]:
    yield Line(
        what="Load balancer", quantity=prices.hours, unit="hours", price=prices.of("front_doors", "load_balancer")
    )
    # Each dimension follows the hours alike, so that the mean of the hours is that of the mean's hour.
    units = lcu(workload)
    yield Line(
        what="Load balancer, capacity (LCU)",
        how=f"{number(units)} LCU (the largest of new, open and bytes) x {number(prices.hours)} h",
        quantity=units * prices.hours,
        unit="LCU-hours",
        price=prices.of("front_doors", "load_balancer_capacity"),
    )
    yield Line(
        what="Load balancer, public addresses",
        how=f"{addresses} x {number(prices.hours)} h",
        quantity=addresses * prices.hours,
        unit="hours",
        price=prices.of("network", "public_address"),
    )


def lcu(workload: Workload) -> float:
    """In an hour like the mean of all, where each stream comes on a connection of its own."""
    return max(
        workload.streams_per_hour / SECONDS_AN_HOUR / _LCU_NEW_A_SECOND,
        workload.open_streams / _LCU_OPEN,
        workload.streams_per_hour * (workload.bytes + workload.request_bytes) / _LCU_BYTES_AN_HOUR,
    )
