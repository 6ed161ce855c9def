"""The Anthropic adapter where the simulated upstream has nothing to simulate it with."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.config import Settings
from app.domain.errors import UpstreamError
from app.providers.anthropic import AnthropicProvider
from app.providers.base import ProviderRequest
from local.upstream import SimulatedUpstream


def asking(model: str = "claude-sim", **fields: object) -> ProviderRequest:
    body = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello."}], **fields}
    return ProviderRequest(body, "2023-06-01")


def settings(url: str, **changes: object) -> Settings:
    return Settings.model_validate({"upstream_base_url": url, "upstream_api_key": "any", **changes})


@pytest.fixture
async def provider(upstream: SimulatedUpstream) -> AsyncIterator[AnthropicProvider]:
    running = AnthropicProvider(settings(upstream.url))
    yield running
    await running.aclose()


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """A server that accepts everybody and says nothing."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_count_that_never_comes_is_a_timeout(mute: str) -> None:
    provider = AnthropicProvider(settings(mute, first_event_timeout=0.3))
    async with asyncio.timeout(10):
        with pytest.raises(UpstreamError) as caught:
            await provider.count_tokens(asking())
    assert (caught.value.code, caught.value.http_status) == ("upstream_timeout", 504)
    await provider.aclose()


async def test_the_request_is_left_as_it_was(provider: AnthropicProvider) -> None:
    """It may be sent again."""
    request = asking()
    before = dict(request.body)
    stream = await provider.open(request)
    while await stream.read():
        pass
    await stream.aclose()
    await provider.count_tokens(request)
    assert request.body == before


async def test_many_streams_have_a_connection_each(upstream: SimulatedUpstream) -> None:
    """The SDK's own pool would end at a hundred."""
    provider = AnthropicProvider(settings(upstream.url, connect_timeout=20))
    streams = await asyncio.gather(*[provider.open(asking("sim-silence-mid")) for _ in range(150)])
    assert all([await stream.read() for stream in streams])
    for stream in streams:
        await stream.aclose()
    async with asyncio.timeout(15):
        await upstream.idle()
    assert all(request.hung_up_at is not None for request in upstream.requests)
    await provider.aclose()


async def test_a_closed_stream_hangs_up(provider: AnthropicProvider, upstream: SimulatedUpstream) -> None:
    stream = await provider.open(asking("sim-endless"))
    assert await stream.read()
    await stream.aclose()
    async with asyncio.timeout(15):
        await upstream.idle()
    assert upstream.requests[0].hung_up_at is not None


async def test_one_read_brings_all_that_came_together(provider: AnthropicProvider) -> None:
    stream = await provider.open(asking("sim-one-read"))
    assert len(await stream.read()) > 10
    await stream.aclose()


@pytest.mark.parametrize(
    ("model", "retry_after"),
    [
        ("sim-429?retry_after=1.5", 1.5),
        ("sim-529?retry_after=0", 0.0),
        ("sim-429?retry_after=inf", None),
        ("sim-500", None),
    ],
)
async def test_retry_after(provider: AnthropicProvider, model: str, retry_after: float | None) -> None:
    with pytest.raises(UpstreamError) as caught:
        await provider.open(asking(model))
    assert caught.value.retry_after == retry_after


@pytest.mark.parametrize("upstream_kind", ["anthropic", "bedrock", "aws"])
async def test_an_upstream_without_credentials_is_our_fault_and_not_told_in_detail(
    upstream_kind: str, mute: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UpstreamError) as caught:
        await AnthropicProvider(settings(mute, upstream=upstream_kind, upstream_api_key=None)).open(asking())
    assert (caught.value.code, caught.value.http_status) == ("upstream_credentials", 502)
    assert "region" not in caught.value.message
    assert "key" not in caught.value.message
