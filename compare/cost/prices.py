"""The prices of one region, from `compare/prices.toml`."""

import tomllib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

_FROM_MEMORY: Final = "long-standing"
PRICES: Final = Path(__file__).parents[1] / "prices.toml"


class PriceError(ValueError):
    """There is no such region or price in the file, or it is none."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a unit. Beyond the quantities of `steps` only the given share of it is asked.

    `read` is whether somebody looked it up, rather than put it down from memory.
    """

    usd: float
    source: str = "given by the user"
    read: bool = True
    steps: tuple[tuple[float, float], ...] = ()

    def of(self, quantity: float) -> float:
        """What a quantity costs, each part of it at the share of its step."""
        if not self.steps:
            return self.usd * quantity
        edges = [(0.0, 1.0), *self.steps, (float("inf"), 0.0)]
        return self.usd * sum(
            share * max(0.0, min(quantity, end) - begin) for (begin, share), (end, _) in pairwise(edges)
        )


@dataclass(frozen=True)
class Prices:
    region: str
    hours: float
    """A month has."""
    _each: dict[tuple[str, str], Price] = field(repr=False)

    def of(self, group: str, name: str) -> Price:
        """
        Raises:
            PriceError: the region has no such price.
        """
        price = self._each.get((group, name))
        if price is None:
            raise PriceError(f"There is no price {group}.{name} for {self.region}: add it to the file of prices.")
        return price


def load(region: str, path: Path = PRICES) -> Prices:
    """
    Raises:
        OSError: the file cannot be read.
        PriceError: it has no such region, or is no file of prices.
    """
    try:
        table = tomllib.loads(path.read_text())
        regions = [name for name, value in table.items() if isinstance(value, dict) and name != "sources"]
        if region not in regions:
            raise PriceError(f"There are no prices for {region!r}; {path.name} has those of {', '.join(regions)}.")
        each = {
            (group, name): _price(entry, table["sources"])
            for group, entries in table[region].items()
            for name, entry in entries.items()
        }
        return Prices(region, float(table["hours_per_month"]), each)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise PriceError(f"{path} is no file of prices: {error!r}") from error


def _price(entry: dict[str, Any], sources: dict[str, Any]) -> Price:
    source = sources[entry["source"]]
    steps = tuple((step["beyond"], step["share"]) for step in entry.get("steps", ()))
    told = f"{source['what']} ({source['read']})"
    return Price(float(entry["usd"]), told, entry["source"] != _FROM_MEMORY, steps)
