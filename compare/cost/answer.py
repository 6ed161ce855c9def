"""Which home for this traffic: bills, curves, flips, map and recommendation, ready to be written or shown."""

from collections.abc import Sequence
from typing import Final

import msgspec

from compare.cost import advice
from compare.cost.bill import TITLES, Bill, Home
from compare.cost.bills import bill
from compare.cost.curves import Flip, cheapest, curve, flips, points
from compare.cost.deployment import Deployment
from compare.cost.prices import Prices
from compare.cost.workload import Workload

HOMES: Final[tuple[Home, ...]] = ("lambda", "fargate", "managed_instances")
# What bills do not have, so that nobody looks for it in vain.
LEFT_OUT: Final = (
    "the upstream's own price, which is the same in both homes and mostly far larger",
    "what the database takes beyond its least capacity, and its storage and input/output",
    "Container Insights, alarms, dashboards, secrets, web ACLs and traces; lines that Lambda itself writes to the log",
    "requests to the upstream as traffic to the internet, and invocations of Lambda for readers that resume a stream",
    "traffic between zones, savings plans and free tiers other than those that are named",
    "tiers of egress, logs and metrics beyond the first",
)
# Around the traffic that was asked for.
_RANGE: Final = 100
_MAP_SIDE: Final = 48
_LONGEST: Final = 900.0
_LENGTHS: Final = (1.0, 5.0, 20.0, 60.0, 300.0, 900.0)
_SHORTEST: Final = 0.5


class BillLine(msgspec.Struct, frozen=True):
    what: str
    arithmetic: str
    usd: float
    shared: bool
    source: str


class HomeBill(msgspec.Struct, frozen=True):
    """`own_usd` is without the lines that all homes share."""

    home: Home
    title: str
    usd: float
    own_usd: float
    lines: list[BillLine]


class CostMap(msgspec.Struct, frozen=True):
    """`cheapest[i][j]` is the cheapest home for streams of `seconds[i]`, `streams_per_hour[j]` of them."""

    streams_per_hour: list[float]
    seconds: list[float]
    cheapest: list[list[Home]]


class OfLength(msgspec.Struct, frozen=True):
    """`first` is the cheapest home of the least traffic that is looked at."""

    seconds: float
    first: Home
    flips: list[Flip]


class Answer(msgspec.Struct, frozen=True):
    """`curves` are points of streams an hour and dollars a month, without what all homes share.

    `choice` is the cheapest home of those that can carry such streams. `unread_prices` are lines of bills whose prices
    nobody looked up. `by_length` is the same of streams of other lengths.
    """

    region: str
    hours_a_month: float
    workload: Workload
    deployment: Deployment
    choice: Home
    sentence: str
    reasons: list[str]
    would_change: list[str]
    bills: list[HomeBill]
    flips: list[Flip]
    by_length: list[OfLength]
    curves: dict[Home, list[tuple[float, float]]]
    map: CostMap
    unread_prices: list[str]
    left_out: list[str]


def answer(deployment: Deployment, workload: Workload, prices: Prices, homes: tuple[Home, ...] = HOMES) -> Answer:
    """
    Raises:
        PriceError: the region lacks a price.
        ValueError: there is no home left that could carry streams as long as these.
    """
    able = [home for home in homes if home not in advice.excluded(workload)]
    if not able:
        raise ValueError("Streams of more than 15 minutes need Fargate.")
    bills = {home: bill(home, deployment, workload, prices) for home in homes}
    of_traffic = {home: curve(home, deployment, workload, prices) for home in homes}
    looked_at = points(deployment, workload, *_range(workload))
    found = flips({home: of_traffic[home] for home in able}, looked_at)
    case = advice.Case(deployment, workload, bills, found, min(able, key=lambda home: bills[home].usd))
    return Answer(
        region=prices.region,
        hours_a_month=prices.hours,
        workload=workload,
        deployment=deployment,
        choice=case.choice,
        sentence=advice.sentence(case),
        reasons=advice.reasons(case),
        would_change=advice.would_change(case),
        bills=[_shown(each) for each in bills.values()],
        flips=found,
        by_length=[
            _of_length(deployment, workload.with_streams(workload.streams_per_hour, length), prices, able)
            for length in _LENGTHS
        ],
        curves={home: [(point, of_traffic[home](point)) for point in looked_at] for home in homes},
        map=_map(deployment, workload, prices, able),
        unread_prices=sorted({line.what for each in bills.values() for line in each.shown if not line.price.read}),
        left_out=list(LEFT_OUT),
    )


def _range(workload: Workload) -> tuple[float, float]:
    middle = workload.streams_per_hour or 1.0
    return middle / _RANGE, middle * _RANGE


def _shown(each: Bill) -> HomeBill:
    lines = [BillLine(line.what, line.arithmetic, line.usd, line.shared, line.price.source) for line in each.shown]
    return HomeBill(each.home, TITLES[each.home], each.usd, each.own_usd, lines)


def _map(deployment: Deployment, workload: Workload, prices: Prices, homes: Sequence[Home]) -> CostMap:
    streams = _even(*_range(workload))
    seconds = _even(_SHORTEST, _LONGEST)
    rows = []
    for length in seconds:
        of_length = workload.with_streams(workload.streams_per_hour, length)
        curves = {home: curve(home, deployment, of_length, prices) for home in homes}
        rows.append([cheapest(curves, point) for point in streams])
    return CostMap(streams, seconds, rows)


def _of_length(deployment: Deployment, workload: Workload, prices: Prices, homes: Sequence[Home]) -> OfLength:
    curves = {home: curve(home, deployment, workload, prices) for home in homes}
    looked_at = points(deployment, workload, *_range(workload))
    return OfLength(workload.stream_seconds, cheapest(curves, looked_at[0]), flips(curves, looked_at))


def _even(low: float, high: float) -> list[float]:
    """On a logarithmic scale."""
    return [low * (high / low) ** (index / (_MAP_SIDE - 1)) for index in range(_MAP_SIDE)]
