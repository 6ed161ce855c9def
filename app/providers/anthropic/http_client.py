"""The HTTP client that is put under the SDK."""

from typing import Final
from urllib.request import getproxies

import httpx2
from anthropic import DefaultAsyncHttpxClient

from app.config import Settings
from app.providers.transport import DirectTransport, Pool

# Beside those of streams: counts of tokens and lists of models.
_OTHERS: Final = 50
# Events are to be read as they are.
_HEADERS: Final = {"accept-encoding": "identity"}


def is_direct() -> bool:
    """Whether no proxy is set for this process; `NO_PROXY` alone is none."""
    return getproxies().keys().isdisjoint(("http", "https", "all"))


def create_http_client(settings: Settings, *, direct: bool) -> httpx2.AsyncClient:
    """Direct connections; behind a proxy (`HTTPS_PROXY` and the like) the SDK's own client, which knows them."""
    limit = settings.max_streams + _OTHERS
    timeout = httpx2.Timeout(
        connect=settings.connect_timeout,
        read=None,  # silence is noticed by the generation, which knows what it is waiting for
        write=settings.idle_timeout,
        pool=settings.connect_timeout,
    )
    if not direct:
        limits = httpx2.Limits(max_connections=limit, max_keepalive_connections=100)
        return DefaultAsyncHttpxClient(limits=limits, timeout=timeout, headers=_HEADERS, follow_redirects=False)
    return httpx2.AsyncClient(transport=DirectTransport(Pool(limit)), timeout=timeout, headers=_HEADERS)
