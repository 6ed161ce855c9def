"""Lambda Managed Instances: many streams in one environment, on EC2 instances that Lambda runs for a fee."""

from collections.abc import Iterator

from compare.cost import front_doors
from compare.cost.bill import Line, money, number
from compare.cost.capacity import needed
from compare.cost.deployment import OnManagedInstances
from compare.cost.prices import Price, Prices
from compare.cost.workload import Workload


def lines(chosen: OnManagedInstances, workload: Workload, prices: Prices) -> Iterator[Line]:
    capacity = needed(workload, holds=chosen.streams_per_instance, headroom=chosen.headroom, least=chosen.least)
    instances = Line(
        what=f"EC2 instances, {chosen.instance}",
        how=f"{capacity.told('instance')} x {number(prices.hours)} h",
        quantity=capacity.mean * prices.hours,
        unit="hours",
        price=_price(chosen, prices),
    )
    yield instances
    yield Line(
        what="Lambda's fee for them",
        how=f"{money(instances.usd)} of instances",
        quantity=instances.usd,
        unit="dollars",
        price=prices.of("lambda", "managed_instances_fee"),
    )
    streams = workload.streams_per_hour * prices.hours
    yield Line(what="Lambda, requests", quantity=streams, unit="requests", price=prices.of("lambda", "requests"))
    yield from front_doors.of_function(chosen.front_door, workload, prices)


def _price(chosen: OnManagedInstances, prices: Prices) -> Price:
    if chosen.price is not None:
        return Price(chosen.price)
    return prices.of("ec2", chosen.instance)
