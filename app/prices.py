"""What a completion costs, in US dollars: by `genai-prices`, or by the file of models where that has a price.

What has no known price costs None, never 0: an unknown model, and whatever else was asked for that changes the price
in a way which is not known.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, mul
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec

from app.catalogue import Catalogue, Price
from app.domain.usage import Counts

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

# Where the listed prices of the configured upstream are found. Claude on AWS is billed as by Anthropic.
_PROVIDERS: Final = {"anthropic": "anthropic", "bedrock": "aws", "aws": "anthropic"}
# Tiers that cost what the list says.
_LISTED_TIERS: Final = (None, "auto", "standard", "standard_only")
_LISTED_SPEEDS: Final = (None, "standard")
_LISTED_PLACES: Final = (None, "global", "not_available")
# Server tools that the list knows all about (Anthropic's documentation, "Pricing"): a fetch costs its tokens alone.
_SEARCH: Final = "web_search_"
_KNOWN_TOOLS: Final = (_SEARCH, "web_fetch_")
_MILLION: Final = 1_000_000


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a request its price depends on, beside the model.

    `cache` is the dearest kind of write it asks for; `server_tools` are the types of tools that run on the upstream.
    """

    speed: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    cache: str | None = None
    server_tools: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any], request: bytes, server_tools: Iterable[str] = ()) -> Self:
        """`request` is the JSON of all that is sent on."""
        cache = ("1h" if b'"1h"' in request else "5m") if b'"cache_control"' in request else None
        options = {name: body.get(name) for name in ("speed", "service_tier", "inference_geo")}
        told = {name: str(value) for name, value in options.items() if value is not None}
        return cls(cache=cache, server_tools=tuple(sorted(set(server_tools))), **told)

    @property
    def searches(self) -> bool:
        return any(tool.startswith(_SEARCH) for tool in self.server_tools)

    def as_served(self, counts: Counts) -> Self:
        """What was asked for is a wish, of which the upstream tells what it has granted."""
        return msgspec.structs.replace(
            self,
            service_tier=counts.service_tier or self.service_tier,
            speed=counts.speed or self.speed,
            inference_geo=counts.inference_geo or self.inference_geo,
        )


class Rate(NamedTuple):
    """The price of a token of a request with more than `above` tokens of input."""

    above: int
    input: Decimal
    output: Decimal


class Cost(msgspec.Struct, frozen=True):
    """`price` says what the amount was worked out from."""

    amount: Decimal
    price: str


class Prices:
    """The prices of the configured upstream's models."""

    def __init__(self, upstream: str, catalogue: Catalogue) -> None:
        self._provider = _PROVIDERS[upstream]
        self._own = {name: model.price for name, model in catalogue.models.items() if model.price is not None}

    def rates(self, model: str, asked: Asked) -> list[Rate]:
        """What to reserve for a token, by the length of the input; none where the price is not known."""
        price = self._price(model, asked, datetime.now(UTC))
        if price is None or (asked.searches and price.web_searches_kcount is None):
            return []
        return [_rate(price, above, asked.cache) for above in sorted({0, *_tiers(price)})]

    def cost(self, model: str, asked: Asked, counts: Counts, at: datetime) -> Cost | None:
        """What it came to by the prices of the time `at`; None where they are not known."""
        served = asked.as_served(counts)
        price = self._price(model, served, at)
        if price is None or (counts.web_searches and price.web_searches_kcount is None):
            return None
        if served.speed not in _LISTED_SPEEDS:
            return Cost(_amount(price, counts), str(price))  # a variant is made anew each time
        known = _known(price)
        return Cost(known.amount(counts), known.told)

    def _price(self, model: str, asked: Asked, at: datetime) -> "ModelPrice | None":
        if asked.service_tier not in _LISTED_TIERS or asked.inference_geo not in _LISTED_PLACES:
            return None
        if not all(tool.startswith(_KNOWN_TOOLS) for tool in asked.server_tools):
            return None
        if model in self._own:
            return None if asked.speed not in _LISTED_SPEEDS else _own(self._own[model])
        return _listed(self._provider, model, asked.speed, at)


@lru_cache
def _own(price: Price) -> "ModelPrice":
    from genai_prices.types import ModelPrice

    return ModelPrice(
        input_mtok=price.input,
        output_mtok=price.output,
        cache_read_mtok=price.cache_read,
        cache_write_mtok=price.cache_write,
        cache_write_1h_mtok=price.cache_write_1h,
        web_searches_kcount=price.web_searches,
    )


@lru_cache(maxsize=1000)
def _model(provider: str, model: str) -> "ModelInfo | None":
    """As listed in the package's data, which do not change while this process runs."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)[1]
    except LookupError:
        return None


def _listed(provider: str, model: str, speed: str | None, at: datetime) -> "ModelPrice | None":
    found = _model(provider, model)
    if found is None:
        return None
    context = {} if speed in _LISTED_SPEEDS else {"speed": speed}
    if context and not any(variant.when == context for variant in found.price_variants or ()):
        return None
    return found.get_prices(at, context)


class _Known:
    """What is asked of a price once, since each time takes longer than the rest of a bill.

    `told` is its text. `of_a_million` is what a million of each of `_KINDS` costs, where that is all there is to it.
    """

    def __init__(self, price: "ModelPrice") -> None:
        self.price = price
        self.told = str(price)
        self.of_a_million = (
            None if _tiers(price) else [_amount(price, msgspec.convert({kind: _MILLION}, Counts)) for kind in _KINDS]
        )

    def amount(self, counts: Counts) -> Decimal:
        if self.of_a_million is None:
            return _amount(self.price, counts)
        return sum(map(mul, self.of_a_million, _of_each_kind(counts)), Decimal()) / _MILLION


_KINDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_searches",
)
_of_each_kind = attrgetter(*_KINDS)
# By the identity of a price, which it keeps alive. There are as many as the list has, and the file of models.
_KNOWN: Final[dict[int, _Known]] = {}
_MOST_KNOWN: Final = 1000


def _known(price: "ModelPrice") -> _Known:
    known = _KNOWN.get(id(price))
    if known is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[id(price)] = _Known(price)
    return known


def _amount(price: "ModelPrice", counts: Counts) -> Decimal:
    return price.calc_price(_usage(counts))["total_price"]


def _tiers(price: "ModelPrice") -> set[int]:
    from genai_prices.types import TieredPrices

    tiered = [value for value in vars(price).values() if isinstance(value, TieredPrices)]
    return {tier.start for each in tiered for tier in each.tiers}


def _rate(price: "ModelPrice", above: int, cache: str | None) -> Rate:
    """Input is reserved as if all of it were written to the cache, where that is asked for."""
    from genai_prices.types import calc_unit_price

    written = {"5m": price.cache_write_mtok, "1h": price.cache_write_1h_mtok}.get(cache or "")
    per_token = [calc_unit_price(each, 1, above + 1, _MILLION) for each in (price.input_mtok, written)]
    return Rate(above, max(per_token), calc_unit_price(price.output_mtok, 1, above + 1, _MILLION))


def _usage(counts: Counts) -> Any:
    from genai_prices import Usage

    return Usage(
        input_tokens=counts.all_input,
        output_tokens=counts.output_tokens,
        cache_read_tokens=counts.cache_read_tokens,
        cache_write_tokens=counts.cache_write_5m_tokens + counts.cache_write_1h_tokens,
        cache_write_1h_tokens=counts.cache_write_1h_tokens,
        web_searches=counts.web_searches,
    )
