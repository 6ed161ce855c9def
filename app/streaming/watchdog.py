"""Noticing silence at no cost to what is heard: nobody tells it, it looks."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

# In each patience: silence is noticed an eighth later at the most.
_LOOKS: Final = 8
# Times the longest silence that may be: the patience that never lets it pass.
IN_TIME: Final = _LOOKS / (_LOOKS + 1)


class Watchdog:
    """Calls `bark` after each `patience` seconds, or an eighth more, in which `heard()` has not changed."""

    def __init__(self, patience: float, heard: Callable[[], int], bark: Callable[[], None]) -> None:
        self._pause = patience / _LOOKS
        self._heard = heard
        self._bark = bark
        self._loop = asyncio.get_running_loop()
        self._before = heard()
        self._in_vain = 0

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._pause, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        del self._heard, self._bark  # they refer to whoever may keep this

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._pause, self._look)
        before, self._before = self._before, self._heard()
        self._in_vain = self._in_vain + 1 if self._before == before else 0
        if self._in_vain == _LOOKS:
            self._in_vain = 0
            self._bark()
            self._before = self._heard()
