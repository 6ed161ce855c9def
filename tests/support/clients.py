"""What a client of any kind has to show: that text arrives as it is made, and what comes of leaving."""

import itertools
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from local.upstream import RecordedRequest
from tests.support.headwater import Headwater, until

GRACE: Final = 1.0
# For a machine that has other things to do; what is promised is one second past the grace.
SLACK: Final = 1.5
PACED_SECONDS: Final = 2.0
PACED: Final = "rate=20&tokens=40"
# Twice the time that leaving takes to cancel.
OUTLASTING: Final = "rate=40&tokens=160"

# As the simulated model answers them.
BOTH_CITIES: Final = "What is the weather in both Paris and Rome?"
CITIES: Final = ["Paris", "Rome"]
# What breaks a stream after some of its text.
BREAKS: Final = ["error-mid", "cut-mid-event", "end-mid"]

_numbers = itertools.count(1)


def model(directives: str = "", *, fault: str = "ok") -> str:
    """A name that nobody else asks for, so that its requests can be found."""
    return f"sim-{fault}?{directives}{'&' if directives else ''}first_ms=0&key=client{next(_numbers)}"


def assert_incremental(arrivals: Sequence[float]) -> None:
    """Pieces of a PACED answer that arrived at these times came while it was made, not at once."""
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(gaps) > 10
    assert sum(gaps) > PACED_SECONDS / 2
    assert max(gaps) < sum(gaps) / 2


async def assert_hung_up(headwater: Headwater, name: str, left: float) -> None:
    """The upstream was hung up on after the grace and within a second, counted from this Unix time."""
    request = _only_request(headwater, name)
    await until(lambda: request.hung_up_at is not None)
    assert request.hung_up_at is not None
    assert GRACE / 2 < request.hung_up_at - left < GRACE + 1 + SLACK
    await until(lambda: status(headwater, name) == "cancelled")


async def assert_went_on(headwater: Headwater, name: str) -> None:
    """The completion reached its end in the store, and was running still when this began."""
    request = _only_request(headwater, name)
    assert not request.finished
    await until(lambda: status(headwater, name) != "streaming")
    assert status(headwater, name) == "completed"
    assert (request.finished, request.hung_up_at) == (True, None)


def status(headwater: Headwater, name: str) -> str:
    """The completion's status in the store."""
    ((found,),) = headwater.rows("SELECT status FROM completions WHERE model = %s", name)
    return str(found)


def _only_request(headwater: Headwater, name: str) -> RecordedRequest:
    (request,) = headwater.asked(name)
    return request
