"""Noticing silence, without a timer per read."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Watchdog:
    """Calls `bark` once `touch` was not called for `patience` seconds. Its timer is set again only when it fires."""

    def __init__(self, patience: float, bark: Callable[[], None]) -> None:
        self._patience = patience
        self._bark = bark
        self._loop = asyncio.get_running_loop()
        self._touched = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        self._touched = self._loop.time()

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._patience, self._fire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        left = self._touched + self._patience - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._fire)
        else:
            self._bark()
