"""The Fargate home: tasks that hold many streams each, paid for by the hour whether streams run or not."""

from collections.abc import Iterator

from compare.cost import front_doors
from compare.cost.bill import Line, number
from compare.cost.capacity import Capacity, needed
from compare.cost.deployment import OnFargate
from compare.cost.prices import Prices
from compare.cost.workload import Workload


def tasks(chosen: OnFargate, workload: Workload) -> Capacity:
    return needed(workload, holds=chosen.streams_per_task, headroom=chosen.headroom, least=chosen.least)


def lines(chosen: OnFargate, workload: Workload, prices: Prices) -> Iterator[Line]:
    running = tasks(chosen, workload)
    hours = f"{running.told('task')} x {number(prices.hours)} h"
    yield Line(
        what="Fargate, vCPU",
        how=f"{hours} x {number(chosen.vcpu)} vCPU",
        quantity=running.mean * prices.hours * chosen.vcpu,
        unit="vCPU-hours",
        price=prices.of("fargate", f"vcpu_{chosen.architecture}"),
    )
    yield Line(
        what="Fargate, memory",
        how=f"{hours} x {number(chosen.memory)} GB",
        quantity=running.mean * prices.hours * chosen.memory,
        unit="GB-hours",
        price=prices.of("fargate", f"memory_{chosen.architecture}"),
    )
    yield from front_doors.load_balancer(workload, chosen.addresses, prices)
