"""One request from beginning to end: sent, read, and read on after a cut."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from compare.load.address import Address
from compare.load.answer import Answer
from compare.load.arrivals import Turn
from compare.load.connection import CUT, WHOLE, exchange
from compare.load.dialects import Dialect

# Of a stream that was cut: how often it is asked for the rest, and how long after the cut.
_RESUMES: Final = 3
_PAUSE: Final = 0.5
_WORDS: Final = ("river", "source", "stone", "spring", "valley", "water", "bridge", "meadow")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: "whole", "cut" or the kind of an error. Moments are seconds of the monotonic clock."""

    how: str
    due: float
    sent: float
    over: float
    resumed: bool
    answer: Answer


@dataclass(frozen=True, slots=True)
class Asker:
    """`patience` is how many seconds a stream may take from the moment at which it was due."""

    dialect: Dialect
    model: str
    patience: float

    async def ask(self, address: Address, turn: Turn, due: float, gap: Callable[[float], None]) -> Outcome:
        answer = Answer(self.dialect, gap)
        sent, how, resumes = time.monotonic(), "timeout", 0
        try:
            async with asyncio.timeout(due + self.patience - time.monotonic()):
                how = await exchange(address, self._request(address, turn), answer)
                while how == CUT and answer.resumable and resumes < _RESUMES:
                    await asyncio.sleep(_PAUSE)
                    resumes += 1
                    how = _read_on(await exchange(address, self._rest(address, answer), answer))
        except TimeoutError:
            how = "timeout"
        return Outcome(how, due, sent, time.monotonic(), resumes > 0, answer)

    def _request(self, address: Address, turn: Turn) -> bytes:
        body = self.dialect.body(self.model, _text(turn.input_tokens), turn.output_tokens)
        return address.request("POST", self.dialect.path, {}, msgspec.json.encode(body))

    def _rest(self, address: Address, answer: Answer) -> bytes:
        path = f"/v1/completions/{answer.completion_id}/stream?dialect={self.dialect.name}"
        return address.request("GET", path, {"last-event-id": answer.last_event_id})


def _read_on(how: str) -> str:
    """A service that cannot tell the rest of a stream, or is not there to, has cut it."""
    return how if how == WHOLE or how.startswith("event_") else CUT


def _text(tokens: int) -> str:
    """About so many tokens: a short word is one."""
    return " ".join(random.choices(_WORDS, k=tokens))
