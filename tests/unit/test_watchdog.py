"""Noticing silence."""

import asyncio
import gc
import weakref

from app.streaming.watchdog import Watchdog


class Heard:
    """What a watchdog watches: `sounds` so far, and when it barked, in seconds from the start."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.sounds = 0
        self.barked: list[float] = []

    def watched(self, patience: float, *, answers: bool = False) -> Watchdog:
        """With `answers` each bark is a sound itself, as a keepalive is."""

        def bark() -> None:
            self.barked.append(self._loop.time() - self._began)
            self.sounds += answers

        return Watchdog(patience, lambda: self.sounds, bark)


async def test_silence_is_told_again_and_again() -> None:
    for answers in (False, True):
        heard = Heard()
        with heard.watched(0.1, answers=answers):
            await asyncio.sleep(0.48)
        assert 2 <= len(heard.barked) <= 4
        assert heard.barked[0] > 0.099
        assert all(later - earlier > 0.099 for earlier, later in zip(heard.barked, heard.barked[1:], strict=False))


async def test_a_sound_puts_it_off() -> None:
    heard = Heard()
    with heard.watched(0.4):
        for _ in range(4):
            await asyncio.sleep(0.15)
            heard.sounds += 1
        await asyncio.sleep(0.3)
        assert not heard.barked
        await asyncio.sleep(0.4)
    assert heard.barked
    assert heard.barked[0] > 0.99


async def test_nothing_is_told_once_it_is_left() -> None:
    heard = Heard()
    kept = [heard.watched(0.05)]
    with kept[0]:
        pass
    await asyncio.sleep(0.2)
    assert not heard.barked
    gone = weakref.ref(heard)
    del heard
    gc.disable()
    try:
        assert gone() is None, "whoever keeps it keeps what it looked at"
    finally:
        gc.enable()
    assert kept
