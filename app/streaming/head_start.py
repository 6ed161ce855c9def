"""Making the upstream's request ready while the database decides whether it may be sent."""

import asyncio
from types import TracebackType
from typing import Final, Self

from app.providers.base import Provider, ProviderRequest, ProviderStream

# Turns of the loop until the admission's own statement is on its way: what is done before that would delay it.
_TURNS: Final = 3


class HeadStart:
    """Used within a `with` around the admission. Whoever was admitted calls `go`, and in the end `close`.

    For all others nothing was sent.
    """

    def __init__(self, provider: Provider, request: ProviderRequest) -> None:
        self.request = request
        self._provider = provider
        self._admitted = asyncio.get_running_loop().create_future()
        self._opening = asyncio.create_task(self._open())
        self._taken_over = False

    async def _open(self) -> ProviderStream:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return await self._provider.open(self.request, self._admitted)

    def go(self) -> None:
        self._admitted.set_result(None)

    async def opened(self) -> ProviderStream:
        """The stream, as `Provider.open` gives it.

        Raises:
            UpstreamError: as that does.
        """
        stream = await self._opening
        self._taken_over = True
        return stream

    async def close(self) -> None:
        """Hang up, unless the stream was taken over: who waited for it may have been cancelled just as it came."""
        if self._taken_over:
            return
        self._opening.cancel()
        await asyncio.wait([self._opening])
        if not self._opening.cancelled() and self._opening.exception() is None:
            await self._opening.result().aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._admitted.done():
            self._opening.add_done_callback(_forget)
            self._opening.cancel()


def _forget(opening: asyncio.Task[ProviderStream]) -> None:
    """Of a request that was not admitted nobody wants to know whether the upstream could have been reached."""
    if not opening.cancelled():
        opening.exception()
