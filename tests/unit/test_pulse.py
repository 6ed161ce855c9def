"""The time side of one reader."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from app.streaming.pulse import Pulse


class Heard:
    def __init__(self) -> None:
        self.silent: list[float] = []
        self.stuck: list[float] = []

    @contextmanager
    def pulse(self, keepalive: float, send_timeout: float) -> Iterator[Pulse]:
        """One whose silences are filled at once, as a reader does."""
        loop = asyncio.get_running_loop()

        def silent() -> None:
            self.silent.append(loop.time() - began)
            pulse.written()

        began = loop.time()
        pulse = Pulse(keepalive, send_timeout, silent=silent, stuck=lambda: self.stuck.append(loop.time() - began))
        with pulse:
            yield pulse


async def test_silence_is_told_again_and_again() -> None:
    heard = Heard()
    with heard.pulse(0.1, 10):
        await asyncio.sleep(0.48)
    assert 3 <= len(heard.silent) <= 4
    assert heard.silent[0] >= 0.1
    assert not heard.stuck


async def test_a_write_puts_the_silence_off() -> None:
    heard = Heard()
    with heard.pulse(0.3, 10) as pulse:
        for _ in range(4):
            await asyncio.sleep(0.1)
            pulse.written()
        await asyncio.sleep(0.2)
        assert not heard.silent
        await asyncio.sleep(0.4)
    assert heard.silent
    assert heard.silent[0] >= 0.7


async def test_a_write_that_the_client_does_not_take_is_told_once() -> None:
    heard = Heard()
    with heard.pulse(0.05, 0.2) as pulse:
        pulse.writing()
        await asyncio.sleep(0.6)
    assert len(heard.stuck) == 1
    assert 0.2 <= heard.stuck[0] < 0.5
    assert not heard.silent, "a client that takes nothing is not told that there is nothing"


async def test_slow_writes_within_the_timeout_are_none_of_its_business() -> None:
    heard = Heard()
    with heard.pulse(0.05, 0.5) as pulse:
        for _ in range(3):
            pulse.writing()
            await asyncio.sleep(0.2)
            pulse.written()
    assert not heard.stuck


async def test_nothing_is_told_once_it_is_left() -> None:
    heard = Heard()
    with heard.pulse(0.05, 0.05) as pulse:
        pulse.writing()
    await asyncio.sleep(0.2)
    assert not heard.stuck
    assert not heard.silent
