"""The provider, made behind the listening socket: importing the SDK takes longer than starting all the rest."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from app.config import Settings
from app.domain.errors import UpstreamError
from app.providers.base import Provider

# A full collection over the imports' objects stops every stream for tenths of a second: keep it from looking at them,
# and from running often.
_GC_THRESHOLDS: Final = (10_000, 20, 50)


class LazyProvider:
    """Awaiting it gives the provider; the first one to await (or `preload`) has it made in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._making: asyncio.Task[Provider] | None = None

    def preload(self) -> None:
        if self._making is None:
            self._making = asyncio.create_task(self._make())  # noqa: TID251 - held here and closed by aclose

    async def __call__(self) -> Provider:
        self.preload()
        assert self._making is not None
        return await asyncio.shield(self._making)

    async def _make(self) -> Provider:
        gc.disable()  # it would go through the imports' objects again and again, which is a fifth of the import's time
        try:
            adapter = await asyncio.to_thread(_import_adapter)
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLDS)
        finally:
            gc.enable()
        return adapter(self._settings)

    async def aclose(self) -> None:
        if self._making is not None:
            with suppress(UpstreamError):
                await (await self._making).aclose()


def _import_adapter() -> Callable[[Settings], Provider]:
    import genai_prices  # noqa: F401 - the other dear one; admissions need it

    from app.providers.anthropic import AnthropicProvider

    return AnthropicProvider
