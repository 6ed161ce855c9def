"""Claude through the official SDK: Anthropic's API (or anything that speaks it), Amazon Bedrock, Claude on AWS.

The SDK does requests, authentication and error classes. It does not build its typed events: the body is read as bytes,
which costs an eighth of that (docs/performance.md).
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final

import anthropic
import httpx2
import msgspec
from anthropic import AsyncAnthropic, AsyncAnthropicAWS, AsyncAnthropicBedrock

from app.config import Settings
from app.domain.errors import UpstreamError
from app.observability import trace_headers
from app.providers.anthropic.errors import errors_as_ours, not_configured
from app.providers.anthropic.http_client import create_http_client, is_direct
from app.providers.anthropic.stream import event_stream
from app.providers.base import ProviderRequest, ProviderStream, UpstreamModel
from app.providers.transport import MAY_SEND

Client = AsyncAnthropic | AsyncAnthropicBedrock | AsyncAnthropicAWS

_BEDROCK_VERSION: Final = "bedrock-2023-05-31"
# The most that one page has.
_ALL_MODELS: Final = 1000


class _Listed(msgspec.Struct, frozen=True):
    data: list[UpstreamModel]


def create_client(settings: Settings, http_client: httpx2.AsyncClient) -> Client:
    """The SDK's client for the configured upstream; AWS credentials come from the environment, as its SDKs read it.

    Its own retries are off: ours know when the first event was and what was told to the caller.
    """
    options: dict[str, Any] = {
        "max_retries": 0,
        "http_client": http_client,
        "base_url": settings.upstream_base_url,
        "timeout": http_client.timeout,
        # Its spans are ours already, and its way of ending them costs each read of a body.
        "open_telemetry": False,
    }
    match settings.upstream:
        case "bedrock":
            return AsyncAnthropicBedrock(**options)
        case "aws":
            return AsyncAnthropicAWS(**options)
        case "anthropic":
            key = settings.upstream_api_key
            return AsyncAnthropic(api_key=key.get_secret_value() if key else None, **options)


class AnthropicProvider:
    """Messages requests in, canonical events out.

    Raises:
        UpstreamError: the configured upstream lacks credentials or a region.
    """

    def __init__(self, settings: Settings) -> None:
        self._direct = is_direct()
        http_client = create_http_client(settings, direct=self._direct)
        try:
            self._client = create_client(settings, http_client)
        except (anthropic.AnthropicError, ValueError) as exc:
            raise not_configured(exc) from exc
        self._bedrock = settings.upstream == "bedrock"
        self._count_timeout = settings.first_event_timeout

    async def open(self, request: ProviderRequest, may_send: Awaitable[None] | None = None) -> ProviderStream:
        if may_send is not None and not self._direct:
            await may_send  # that client sends at once
        MAY_SEND.set(may_send)
        body = dict(request.body)
        with errors_as_ours():
            response = await self._client.messages.with_streaming_response.create(
                model=body.pop("model"),
                max_tokens=body.pop("max_tokens"),
                messages=body.pop("messages"),
                stream=True,
                extra_body=body | self._version_field(request),
                extra_headers=_headers(request),
            ).__aenter__()
        return await event_stream(response)

    def _version_field(self, request: ProviderRequest) -> dict[str, str]:
        """Bedrock reads the version from the body, where the older one has another name."""
        return {"anthropic_version": _BEDROCK_VERSION} if self._bedrock and request.version == "2023-06-01" else {}

    async def count_tokens(self, request: ProviderRequest) -> bytes:
        body = dict(request.body)
        with errors_as_ours():
            async with asyncio.timeout(self._count_timeout):
                response = await self._client.messages.with_raw_response.count_tokens(
                    model=body.pop("model"),
                    messages=body.pop("messages"),
                    extra_body=body,
                    extra_headers=_headers(request),
                )
                return await response.read()

    async def models(self) -> Sequence[UpstreamModel]:
        if isinstance(self._client, AsyncAnthropicBedrock):
            return ()
        with errors_as_ours():
            response = await self._client.models.with_raw_response.list(limit=_ALL_MODELS)
            listed = await response.read()
        try:
            return msgspec.json.decode(listed, type=_Listed).data
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamError("The upstream's list cannot be read.", code="upstream_malformed") from None

    async def aclose(self) -> None:
        await self._client.close()


def _headers(request: ProviderRequest) -> dict[str, str]:
    headers = {"anthropic-version": request.version, **trace_headers()}
    if request.betas:
        headers["anthropic-beta"] = request.betas
    return headers
