"""The month's bill of each home."""

from collections.abc import Iterator

from compare.cost import on_fargate, on_lambda, on_managed_instances, shared
from compare.cost.bill import Bill, Home, Line
from compare.cost.deployment import Deployment
from compare.cost.prices import Prices
from compare.cost.workload import Workload


def bill(home: Home, deployment: Deployment, workload: Workload, prices: Prices) -> Bill:
    """
    Raises:
        PriceError: the region lacks a price.
    """
    own = _own(home, deployment, workload, prices)
    return Bill(home, [*own, *shared.lines(deployment.shared, workload, prices)])


def own_usd(home: Home, deployment: Deployment, workload: Workload, prices: Prices) -> float:
    """What a home costs beside what all share: enough to compare them."""
    return sum(line.usd for line in _own(home, deployment, workload, prices))


def _own(home: Home, deployment: Deployment, workload: Workload, prices: Prices) -> Iterator[Line]:
    match home:
        case "lambda":
            return on_lambda.lines(deployment.on_lambda, workload, prices)
        case "managed_instances":
            return on_managed_instances.lines(deployment.on_managed_instances, workload, prices)
        case "fargate":
            return on_fargate.lines(deployment.on_fargate, workload, prices)
