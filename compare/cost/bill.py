"""A month's bill, line by line, each with its arithmetic.

Floats are exact enough: the inputs are estimates, and sums are shown in cents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from compare.cost.prices import Price

Home = Literal["lambda", "managed_instances", "fargate"]
_HALF_A_CENT: Final = 0.005
TITLES: Final[dict[Home, str]] = {
    "lambda": "Lambda",
    "managed_instances": "Lambda Managed Instances",
    "fargate": "Fargate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`quantity` of `unit` a month at `price`; `how` says where the quantity comes from.

    `shared` lines are the same in every home: they decide nothing between them.
    """

    what: str
    quantity: float
    unit: str
    price: Price
    how: str = ""
    shared: bool = False

    @property
    def usd(self) -> float:
        return self.price.of(self.quantity)

    @property
    def counts(self) -> bool:
        """Whether it comes to a cent, rounded."""
        return self.usd >= _HALF_A_CENT

    @property
    def arithmetic(self) -> str:
        """For example `10,000,000 x 0.5 s x 0.5 GB = 2,500,000 GB-s; x $0.0000133334 = $33.33`."""
        steps = " (less beyond)" if self.price.steps and self.quantity > self.price.steps[0][0] else ""
        quantity = f"{number(self.quantity)} {self.unit}"
        return f"{self.how + ' = ' if self.how else ''}{quantity}; x {rate(self.price.usd)}{steps} = {money(self.usd)}"


@dataclass(frozen=True, slots=True)
class Bill:
    home: Home
    lines: Sequence[Line]

    @property
    def usd(self) -> float:
        """A month."""
        return sum(line.usd for line in self.lines)

    @property
    def own_usd(self) -> float:
        """Without the lines that all homes share."""
        return sum(line.usd for line in self.lines if not line.shared)

    @property
    def shown(self) -> list[Line]:
        """What costs something, the home's own first."""
        return sorted((line for line in self.lines if line.counts), key=lambda line: line.shared)


def number(value: float) -> str:
    """With as many digits as tell something: four, and all of them before the point."""
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def money(usd: float) -> str:
    return f"${usd:,.2f}"


def rate(usd: float) -> str:
    """A price in full: `$0.0000133334`."""
    text = f"{usd:.10f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"
