"""What completions cost, against prices worked out by hand."""

from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import msgspec
import pytest
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot

from app.catalogue import Catalogue, Model, Price
from app.domain.usage import Counts
from app.prices import Asked, Prices

AT = datetime(2026, 11, 1, tzinfo=UTC)
OPUS = "claude-opus-5"  # 5 / 25 dollars for a million tokens, 0.5 from the cache, 6.25 and 10 into it
MADE_UP = Catalogue(
    models={
        "ours": Model(price=Price(input=Decimal(1), output=Decimal(2))),
        "ours-cached": Model(
            price=Price(
                input=Decimal(1),
                output=Decimal(2),
                cache_read=Decimal("0.1"),
                cache_write=Decimal("1.25"),
                cache_write_1h=Decimal(2),
                web_searches=Decimal(10),
            )
        ),
    }
)
listed = Prices("anthropic", Catalogue())
own = Prices("anthropic", MADE_UP)
ALL_KINDS = Counts(
    input_tokens=1_000_000,
    output_tokens=1_000_000,
    cache_read_tokens=1_000_000,
    cache_write_5m_tokens=1_000_000,
    cache_write_1h_tokens=1_000_000,
    web_searches=1000,
)


def amount(prices: Prices, model: str, counts: Counts, asked: Asked | None = None) -> Decimal | None:
    cost = prices.cost(model, asked or Asked(), counts, AT)
    return cost.amount if cost is not None else None


@pytest.mark.parametrize(
    ("prices", "model", "dollars"),
    [
        pytest.param(listed, OPUS, "56.75", id="listed"),  # 5 + 25 + 0.5 + 6.25 + 10 + 10
        pytest.param(own, OPUS, "56.75", id="not-in-the-file"),
        pytest.param(own, "ours-cached", "16.35", id="own-with-cache"),  # 1 + 2 + 0.1 + 1.25 + 2 + 10
    ],
)
def test_every_kind_of_token_has_its_price(prices: Prices, model: str, dollars: str) -> None:
    assert amount(prices, model, ALL_KINDS) == Decimal(dollars)


def test_what_is_worked_out_once_is_what_the_list_works_out_each_time() -> None:
    """Of all models that the two lists have, tiers among them, for counts at random."""
    random = Random(1)
    of_providers = {provider.id: provider for provider in get_snapshot().providers}
    compared = 0
    for upstream, provider in (("anthropic", "anthropic"), ("bedrock", "aws")):
        prices = Prices(upstream, Catalogue())
        for model in of_providers[provider].models:
            counts = Counts(
                input_tokens=random.choice((0, random.randrange(500_000))),
                output_tokens=random.randrange(100_000),
                cache_read_tokens=random.choice((0, random.randrange(500_000))),
                cache_write_5m_tokens=random.choice((0, random.randrange(50_000))),
                cache_write_1h_tokens=random.choice((0, random.randrange(50_000))),
                web_searches=random.randrange(9),
            )
            if (cost := prices.cost(model.id, Asked(), counts, AT)) is not None:
                usage = Usage(
                    input_tokens=counts.all_input,
                    output_tokens=counts.output_tokens,
                    cache_read_tokens=counts.cache_read_tokens,
                    cache_write_tokens=counts.cache_write_5m_tokens + counts.cache_write_1h_tokens,
                    cache_write_1h_tokens=counts.cache_write_1h_tokens,
                    web_searches=counts.web_searches,
                )
                listed_model = get_snapshot().find_provider_model(model.id, None, provider, None)[1]
                assert cost.amount == listed_model.get_prices(AT).calc_price(usage)["total_price"]
                compared += 1
    assert compared > 20


def test_an_own_price_counts_the_cache_as_other_input_and_no_searches() -> None:
    assert amount(own, "ours", msgspec.structs.replace(ALL_KINDS, web_searches=0)) == Decimal(6)  # 4 of input + 2
    assert amount(own, "ours", ALL_KINDS) is None


@pytest.mark.parametrize(
    ("input_tokens", "dollars"), [(200_000, "0.02"), (400_000, "0.2")], ids=["below-the-tier", "above-the-tier"]
)
def test_a_long_input_is_dearer_where_the_list_says_so(input_tokens: int, dollars: str) -> None:
    counts = Counts(input_tokens=input_tokens // 2)
    assert amount(listed, "claude-haiku-5-5", counts) == Decimal(dollars) / 2


def test_speed_has_its_price() -> None:
    counts = Counts(input_tokens=1_000_000, output_tokens=1_000_000)
    assert amount(listed, OPUS, counts, Asked(speed="fast")) == Decimal(60)
    assert amount(listed, OPUS, counts, Asked(speed="standard")) == Decimal(30)


@pytest.mark.parametrize(
    ("model", "asked", "counts"),
    [
        pytest.param("claude-sim", Asked(), Counts(), id="unknown-model"),
        pytest.param(OPUS, Asked(speed="warp"), Counts(), id="unknown-speed"),
        pytest.param("claude-haiku-4-5", Asked(speed="fast"), Counts(), id="speed-it-does-not-have"),
        pytest.param(OPUS, Asked(inference_geo="us"), Counts(), id="place"),
        pytest.param(OPUS, Asked(service_tier="priority"), Counts(), id="tier-asked-for"),
        pytest.param(OPUS, Asked(), Counts(service_tier="priority"), id="tier-that-served"),
        pytest.param(OPUS, Asked(), Counts(speed="warp"), id="speed-that-served"),
        pytest.param(OPUS, Asked(), Counts(inference_geo="us"), id="place-that-served"),
        pytest.param(OPUS, Asked(server_tools=("code_execution_20250825",)), Counts(), id="tool-with-a-price-by-time"),
        pytest.param(OPUS, Asked(server_tools=("web_fetch_20250910", "future_tool")), Counts(), id="future-tool"),
        pytest.param("ours", Asked(speed="fast"), Counts(), id="own-price-says-nothing-of-speed"),
        pytest.param("ours", Asked(server_tools=("web_search_1",)), Counts(web_searches=1), id="nor-of-searches"),
    ],
)
def test_what_is_not_known_costs_none_and_never_0(model: str, asked: Asked, counts: Counts) -> None:
    assert amount(own, model, counts, asked) is None


@pytest.mark.parametrize(
    ("asked", "served", "dollars"),
    [
        (Asked(service_tier="priority"), {"service_tier": "standard"}, "30"),
        (Asked(speed="fast"), {"speed": "standard"}, "30"),
        (Asked(), {"speed": "fast"}, "60"),
        (Asked(inference_geo="us"), {"inference_geo": "global"}, "30"),
        (Asked(), {"inference_geo": "not_available"}, "30"),
    ],
)
def test_what_served_counts_not_what_was_hoped_for(asked: Asked, served: dict[str, str], dollars: str) -> None:
    counts = Counts(input_tokens=1_000_000, output_tokens=1_000_000, **served)  # type: ignore[arg-type]
    assert amount(listed, OPUS, counts, asked) == Decimal(dollars)


@pytest.mark.parametrize(
    ("prices", "model", "tools", "known"),
    [
        (listed, OPUS, ("web_fetch_20250910", "web_search_20260209"), True),
        (listed, OPUS, ("code_execution_20250825",), False),
        (own, "ours", ("web_fetch_20250910",), True),
        (own, "ours", ("web_search_20260209",), False),
        (own, "ours-cached", ("web_search_20260209",), True),
    ],
)
def test_a_server_tool_can_be_reserved_for_if_its_price_is_known(
    prices: Prices, model: str, tools: tuple[str, ...], known: bool
) -> None:
    assert bool(prices.rates(model, Asked(server_tools=tools))) is known


def test_searches_cost_what_was_searched() -> None:
    asked = Asked(server_tools=("web_search_20260209",))
    assert amount(listed, OPUS, Counts(web_searches=3), asked) == Decimal("0.03")
    assert amount(own, "ours", Counts(output_tokens=1_000_000), asked) == Decimal(2)


@pytest.mark.parametrize(
    ("upstream", "model", "dollars"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", "3"),
        ("aws", "claude-sonnet-4-5-20250929", "3"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3"),
    ],
)
def test_the_price_is_that_of_the_upstream(upstream: str, model: str, dollars: str) -> None:
    counts = Counts(input_tokens=1000)
    assert amount(Prices(upstream, Catalogue()), model, counts) == Decimal(dollars) / 1000


@pytest.mark.parametrize(
    ("asked", "input_price"), [(Asked(), "5"), (Asked(cache="5m"), "6.25"), (Asked(cache="1h"), "10")]
)
def test_input_is_reserved_at_its_dearest(asked: Asked, input_price: str) -> None:
    (rate,) = listed.rates(OPUS, asked)
    assert rate == (0, Decimal(input_price) / 1_000_000, Decimal("0.000025"))


def test_rates_rise_with_the_tiers() -> None:
    assert [rate.above for rate in listed.rates("claude-haiku-5-5", Asked())] == [0, 100_000]
    low, high = listed.rates("claude-haiku-5-5", Asked())
    assert (high.input, high.output) == (5 * low.input, 5 * low.output)


def test_no_rates_without_a_price() -> None:
    assert listed.rates("claude-sim", Asked()) == []


@pytest.mark.parametrize(
    ("sent", "cache"),
    [
        (b'{"messages":[]}', None),
        (b'{"system":[{"cache_control":{"type":"ephemeral"}}]}', "5m"),
        (b'{"system":[{"cache_control":{"type":"ephemeral","ttl":"1h"}}]}', "1h"),
    ],
)
def test_what_is_asked_of_the_cache(sent: bytes, cache: str | None) -> None:
    assert Asked.of({}, sent) == Asked(cache=cache)


def test_what_is_asked_is_read_from_the_body() -> None:
    body = {"speed": "fast", "service_tier": "auto", "inference_geo": "us", "model": "m"}
    tools = ["web_search_1", "a", "web_search_1"]
    asked = Asked(speed="fast", service_tier="auto", inference_geo="us", server_tools=("a", "web_search_1"))
    assert Asked.of(body, b"{}", tools) == asked
