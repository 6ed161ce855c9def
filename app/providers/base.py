"""What a provider is: somebody who streams canonical events."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec


class ProviderRequest(msgspec.Struct, frozen=True):
    """`body` is a whole Messages request without `stream`; `version` and `betas` are Anthropic's headers."""

    body: dict[str, Any]
    version: str
    betas: str | None = None


class UpstreamModel(msgspec.Struct, frozen=True):
    """A model as the upstream lists it; those that only resemble the Models API may say no more than its name."""

    id: str
    display_name: str | None = None
    created_at: datetime | None = None


class ProviderStream(Protocol):
    """One answer on its way. Close it, whatever happened."""

    async def read(self) -> list[bytes]:
        """The JSON of the events that one network read completed, at least one; none at the end of the body.

        Raises:
            UpstreamError: the connection broke, stayed silent for too long or brought something else than events.
        """

    async def pour(self, take: Callable[[list[bytes]], bool]) -> bool:
        """Give `take` what `read` would give, read by read, until it answers True; False if the body ends before.

        Raises:
            UpstreamError: as `read`, and whatever `take` raises.
        """

    async def aclose(self, *, at_end: bool = False) -> None:
        """Hang up, if the stream has not ended; `at_end` says that its last event has been read."""


class Provider(Protocol):
    async def open(self, request: ProviderRequest, may_send: Awaitable[None] | None = None) -> ProviderStream:
        """Send the request once and return when the upstream has accepted it.

        Nothing of it is sent before `may_send` is done; all that comes before sending may be.

        Raises:
            UpstreamError: it refused, or could not be reached.
        """

    async def count_tokens(self, request: ProviderRequest) -> bytes:
        """The JSON answer to a token count.

        Raises:
            UpstreamError: as `open`.
        """

    async def models(self) -> Sequence[UpstreamModel]:
        """The models it lists; none where it has no list.

        Raises:
            UpstreamError: as `open`.
        """

    async def aclose(self) -> None:
        """Close the connection pool."""
