"""The time side of one reader, driven with a `send` of the test's own."""

import asyncio

import pytest
from starlette.types import Message

from app.streaming.pulse import Pulse


class Client:
    """Takes what is sent, after `delay` seconds each."""

    def __init__(self, delay: float = 0) -> None:
        self.delay = delay
        self.taken: list[Message] = []

    async def send(self, message: Message) -> None:
        await asyncio.sleep(self.delay)
        self.taken.append(message)


def never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_a_wait_that_the_log_ends_is_no_keepalive() -> None:
    with Pulse(10, 10) as pulse:
        changed = never()
        asyncio.get_running_loop().call_later(0.01, changed.set_result, None)
        assert await pulse.wait(changed)


async def test_a_silence_ends_a_wait_again_and_again() -> None:
    loop = asyncio.get_running_loop()
    client = Client()
    with Pulse(0.1, 10) as pulse:
        started = loop.time()
        for _ in range(3):
            assert not await pulse.wait(never())
            await pulse.send(client.send, b": x\n\n", True)
        assert 0.29 < loop.time() - started < 1


async def test_a_write_puts_the_keepalive_off() -> None:
    loop = asyncio.get_running_loop()
    client = Client()
    with Pulse(0.3, 10) as pulse:
        for _ in range(4):
            await asyncio.sleep(0.1)
            assert await pulse.send(client.send, b"data", True)
        written = loop.time()
        assert not await pulse.wait(never())
        assert 0.25 < loop.time() - written < 0.9


async def test_someone_else_may_end_a_wait() -> None:
    with Pulse(10, 10) as pulse:
        asyncio.get_running_loop().call_later(0.01, pulse.wake)
        assert not await pulse.wait(never())
        pulse.wake()  # nobody waits any more: nothing happens


async def test_a_client_that_takes_nothing_is_dropped_after_the_timeout() -> None:
    loop = asyncio.get_running_loop()
    with Pulse(10, 0.2) as pulse:
        started = loop.time()
        assert not await pulse.send(Client(delay=60).send, b"data", True)
        assert 0.15 < loop.time() - started < 1
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "the task itself goes on"
    await asyncio.sleep(0)


async def test_a_slow_client_within_the_timeout_is_kept() -> None:
    client = Client(delay=0.2)
    with Pulse(0.05, 0.5) as pulse:
        for _ in range(3):
            assert await pulse.send(client.send, b"data", True)
    assert len(client.taken) == 3


async def test_a_cancellation_from_outside_is_not_swallowed() -> None:
    async def streaming() -> None:
        with Pulse(10, 10) as pulse:
            await pulse.send(Client(delay=60).send, b"data", True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await streaming()


async def test_nothing_fires_once_it_is_left() -> None:
    with Pulse(0.05, 0.05):
        pass
    await asyncio.sleep(0.2)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
