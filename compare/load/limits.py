"""Where a run ends by itself: after so much time, so many requests or so much money."""

from dataclasses import dataclass
from typing import Literal

from compare.load.answer import Answer
from compare.load.arrivals import Turn
from compare.results import Limits

Reason = Literal["seconds", "requests", "dollars", "interrupt"]


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """US dollars of a million tokens."""

    input: float
    output: float

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


class Budget:
    """Counts what has been sent and spent, the warm-up included: `stopped_by` says which limit was met first."""

    def __init__(self, *, seconds: float, requests: int, dollars: float | None, prices: TokenPrices | None) -> None:
        self._seconds = seconds
        self._requests = requests
        self._dollars = dollars
        self._prices = prices
        self._sent = 0
        self._spent = 0.0
        # Of requests that are under way, all that they may come to.
        self._reserved = 0.0
        self.stopped_by: Reason | None = None

    def take(self, at: float, turn: Turn) -> bool:
        """Whether a request may be sent `at` so many seconds. The answer stays no."""
        if self.stopped_by is None:
            self.stopped_by = self._met(at, turn)
        if self.stopped_by is not None:
            return False
        self._sent += 1
        self._reserved += self._most(turn)
        return True

    def _met(self, at: float, turn: Turn) -> Reason | None:
        if at >= self._seconds:
            return "seconds"
        if self._sent >= self._requests:
            return "requests"
        if self._dollars is not None and self._spent + self._reserved + self._most(turn) > self._dollars:
            return "dollars"
        return None

    def _most(self, turn: Turn) -> float:
        return self._prices.cost(turn.input_tokens, turn.output_tokens) if self._prices else 0.0

    def settle(self, turn: Turn, answer: Answer) -> None:
        """It is over: what it cost by the usage that was told, or else by what was sent and counted."""
        self._reserved -= self._most(turn)
        if self._prices is not None:
            told = answer.input_tokens
            self._spent += self._prices.cost(told if told is not None else turn.input_tokens, _output(turn, answer))

    def interrupt(self) -> None:
        self.stopped_by = self.stopped_by or "interrupt"

    def told(self) -> Limits:
        spent = self._spent if self._prices is not None else None
        return Limits(self._seconds, self._requests, self._dollars, spent, self.stopped_by)


def _output(turn: Turn, answer: Answer) -> int:
    """Tokens. The usage at a stream's beginning says 1, so one that did not come whole may have cost all of its own."""
    if answer.ended != "whole":
        return max(answer.tokens, turn.output_tokens)
    return answer.output_tokens if answer.output_tokens is not None else answer.tokens
