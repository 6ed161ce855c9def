"""What both homes stand on and pay alike: it decides nothing between them, and is often the larger part of the bill."""

from collections.abc import Iterator

from compare.cost.bill import Line, number
from compare.cost.deployment import Shared
from compare.cost.prices import Prices
from compare.cost.workload import Workload

_FREE_EGRESS_GB = 100


def lines(chosen: Shared, workload: Workload, prices: Prices) -> Iterator[Line]:
    yield from _nat(chosen, workload, prices)
    yield from _database(chosen, prices)
    yield from _told(chosen, workload, prices)


def _nat(chosen: Shared, workload: Workload, prices: Prices) -> Iterator[Line]:
    hours = chosen.nat_gateways * prices.hours
    gateways = f"{chosen.nat_gateways} x {number(prices.hours)} h"
    nat, address = prices.of("network", "nat"), prices.of("network", "public_address")
    yield Line(what="NAT gateways", how=gateways, quantity=hours, unit="hours", price=nat, shared=True)
    yield Line(what="NAT gateways, addresses", how=gateways, quantity=hours, unit="hours", price=address, shared=True)
    # The upstream sends about what goes on to the client, and gets what the client sent.
    streams = workload.streams_per_hour * prices.hours
    gigabytes = streams * (workload.bytes + workload.request_bytes) / 1e9 if chosen.nat_gateways else 0.0
    yield Line(
        what="NAT gateways, data",
        how=f"{number(streams)} streams x {number((workload.bytes + workload.request_bytes) / 1000)} kB",
        quantity=gigabytes,
        unit="GB",
        price=prices.of("network", "nat_data"),
        shared=True,
    )


def _database(chosen: Shared, prices: Prices) -> Iterator[Line]:
    yield Line(
        what="Aurora, its least capacity",
        how=f"{number(chosen.acu)} ACU x {number(prices.hours)} h",
        quantity=chosen.acu * prices.hours,
        unit="ACU-hours",
        price=prices.of("database", "aurora_capacity"),
        shared=True,
    )
    yield Line(
        what="RDS Proxy, billed as 8 ACU at the least",
        quantity=prices.hours if chosen.proxy else 0.0,
        unit="hours",
        price=prices.of("database", "proxy_least"),
        shared=True,
    )


def _told(chosen: Shared, workload: Workload, prices: Prices) -> Iterator[Line]:
    """What leaves: answers to the internet, and lines and metrics to CloudWatch."""
    streams = workload.streams_per_hour * prices.hours
    sent = streams * workload.bytes / 1e9
    yield Line(
        what="Answers to the internet",
        how=f"{number(sent)} GB - {_FREE_EGRESS_GB} free",
        quantity=max(0.0, sent - _FREE_EGRESS_GB),
        unit="GB",
        price=prices.of("network", "egress"),
        shared=True,
    )
    yield Line(
        what="Logs",
        how=f"{number(streams)} streams x {number(workload.log_bytes / 1000)} kB",
        quantity=streams * workload.log_bytes / 1e9,
        unit="GB",
        price=prices.of("operations", "logs"),
        shared=True,
    )
    metric = prices.of("operations", "custom_metric")
    yield Line(what="Metrics", quantity=chosen.metrics, unit="metrics", price=metric, shared=True)
