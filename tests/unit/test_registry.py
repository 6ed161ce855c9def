"""What runs in a process, and how it is brought to an end."""

import asyncio

import pytest

from app.domain.errors import Unavailable
from app.streaming.registry import Registry


def test_there_is_room_for_so_many() -> None:
    registry = Registry(1)
    with registry.place(), pytest.raises(Unavailable, match="room"), registry.place():
        pass
    with registry.place():
        pass


async def test_nobody_is_admitted_once_the_drain_has_begun() -> None:
    """Whoever waited for something else until then would be launched after the last commit."""
    registry = Registry(1)
    assert await registry.drain(0)
    with pytest.raises(Unavailable, match="shutting down"), registry.place():
        pass


async def test_a_drain_waits_for_those_that_are_just_being_admitted() -> None:
    registry = Registry(1)
    with registry.place():
        drain = asyncio.get_running_loop().create_task(registry.drain(5))
        await asyncio.sleep(0.1)
        assert not drain.done()
    async with asyncio.timeout(1):
        assert await drain
