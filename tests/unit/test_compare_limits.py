"""A run ends by the limit that it meets first, and never spends more than it may."""

import pytest

from compare.load.answer import Answer
from compare.load.arrivals import Turn
from compare.load.dialects import DIALECTS
from compare.load.limits import Budget, TokenPrices

TURN = Turn(input_tokens=1000, output_tokens=1000)
PRICES = TokenPrices(input=1, output=5)  # 0.006 dollars a request at the most


def answer(output_tokens: int | None, counted: int = 0, ended: str | None = "whole") -> Answer:
    found = Answer(DIALECTS["plain"], lambda *_: None)
    found.output_tokens, found.tokens, found.ended = output_tokens, counted, ended
    return found


def budget(
    *, seconds: float = 60, requests: int = 1000, dollars: float | None = None, prices: TokenPrices | None = PRICES
) -> Budget:
    return Budget(seconds=seconds, requests=requests, dollars=dollars, prices=prices)


def test_after_its_time() -> None:
    run = budget(seconds=10)
    assert [run.take(at, TURN) for at in (9.9, 10.0, 9.0)] == [True, False, False]
    assert run.told().stopped_by == "seconds"


def test_after_so_many_requests() -> None:
    run = budget(requests=2)
    assert [run.take(0, TURN) for _ in range(4)] == [True, True, False, False]
    assert run.told().stopped_by == "requests"


def test_what_is_under_way_counts_as_all_that_it_may_cost() -> None:
    run = budget(dollars=0.0125)
    assert [run.take(0, TURN) for _ in range(3)] == [True, True, False]
    assert run.told().stopped_by == "dollars"


def test_what_is_over_counts_as_what_it_cost() -> None:
    run = budget(dollars=0.0125)
    for _ in range(5):
        assert run.take(0, TURN)
        run.settle(TURN, answer(output_tokens=100))
    assert run.told().spent == pytest.approx(5 * 0.0015)


def test_without_a_usage_tokens_are_those_that_were_counted() -> None:
    run = budget()
    run.take(0, TURN)
    run.settle(TURN, answer(output_tokens=None, counted=200))
    assert run.told().spent == pytest.approx(0.002)


@pytest.mark.parametrize("ended", [None, "event_upstream_connection"])
def test_what_was_cut_counts_as_all_that_it_may_have_cost(ended: str | None) -> None:
    """Whatever the usage at its beginning says."""
    run = budget()
    run.take(0, TURN)
    run.settle(TURN, answer(output_tokens=1, counted=200, ended=ended))
    assert run.told().spent == pytest.approx(0.006)


def test_without_prices_nothing_is_known_of_money() -> None:
    run = budget(prices=None)
    assert run.take(0, TURN)
    assert run.told().spent is None
    assert run.told().stopped_by is None


def test_the_first_reason_stays() -> None:
    run = budget(requests=1)
    assert [run.take(0, TURN) for _ in range(2)] == [True, False]
    run.interrupt()
    assert run.told().stopped_by == "requests"
