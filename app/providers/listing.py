"""The upstream's models, asked for when somebody wants to know and remembered for minutes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.domain.errors import AppError
from app.providers.base import Provider, UpstreamModel

_log = logging.getLogger(__name__)

_KEPT: Final = 300.0
_PATIENCE: Final = 3.0
# An upstream that does not answer is asked again after this time.
_PAUSE: Final = 30.0


class Listing:
    """Answers what was last heard, which is nothing where the upstream has no such list."""

    def __init__(self, provider: Callable[[], Awaitable[Provider]]) -> None:
        self._provider = provider
        self._models: Sequence[UpstreamModel] = ()
        self._good_until = 0.0
        self._asking = asyncio.Lock()

    async def models(self) -> Sequence[UpstreamModel]:
        async with self._asking:
            if time.monotonic() >= self._good_until:
                await self._ask()
        return self._models

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                self._models = await (await self._provider()).models()
        except (AppError, TimeoutError) as exc:
            _log.warning("the upstream did not list its models: %s", exc)
            self._good_until = time.monotonic() + _PAUSE
        else:
            self._good_until = time.monotonic() + _KEPT
