"""What the tests of a function ask for, and read."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.headwater import Frame, frames

# Text at a pace that takes a minute, for what ends otherwise.
LONG = "sim-ok?tokens=1200&rate=20&first_ms=0"
QUICK = "sim-ok?tokens=20&first_ms=0"


def body(model: str = QUICK, **fields: Any) -> dict[str, Any]:
    return {"model": model, "input": "Tell me about rivers.", "max_tokens": 2000, **fields}


async def read_all(client: httpx.AsyncClient, model: str = QUICK) -> list[Frame]:
    """The frames of a new completion's stream."""
    response = await client.post("/v1/completions", json=body(model))
    assert response.status_code == 200, response.text
    return frames(response.text)


async def piece_times(
    client: httpx.AsyncClient, model: str, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, list[float]]:
    """When a completion was asked for, and when each piece of its text arrived."""
    asked = clock()
    times: list[float] = []
    async with client.stream("POST", "/v1/completions", json=body(model)) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith('data: {"text"'):
                times.append(clock())
    return asked, times
