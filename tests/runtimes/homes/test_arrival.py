"""Text arrives as the upstream sends it, on the homes that stream."""

import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.runtimes.homes.results import MEASURED
from tests.runtimes.homes.streams import piece_times
from tests.runtimes.homes.targets import STREAMING, Home, on

pytestmark = [pytest.mark.asyncio(loop_scope="session"), on(STREAMING)]

_PIECES = 60
_RATE = 20
_FIRST = 0.4
_MODEL = f"sim-ok?tokens={_PIECES}&rate={_RATE}&first_ms={1000 * _FIRST:.0f}"
_TRIES = 5


async def test_text_arrives_as_it_is_made(home: Home, record_property: Callable[[str, object], None]) -> None:
    async with home.client() as client:
        await piece_times(client, "sim-ok?tokens=1&first_ms=0")  # an environment that has imported everything
        asked, times = await piece_times(client, _MODEL)
        assert len(times) == _PIECES
        made_in = (_PIECES - 1) / _RATE
        arrived_in = times[-1] - times[0]
        assert abs(arrived_in - made_in) < 0.1 * made_in
        # In as many pieces as were made, but for a few that a busy machine put together.
        assert sum(later - earlier > 0.01 for earlier, later in pairwise(times)) > 0.8 * _PIECES
        firsts = [times[0] - asked]
        for _ in range(_TRIES - 1):
            asked, times = await piece_times(client, f"sim-ok?tokens=2&first_ms={1000 * _FIRST:.0f}")
            firsts.append(times[0] - asked)
    added = 1000 * (statistics.median(firsts) - _FIRST)
    record_property(
        MEASURED, f"{arrived_in:.2f} s from first to last, made in {made_in:.2f} s; first token {added:.0f} ms later"
    )
