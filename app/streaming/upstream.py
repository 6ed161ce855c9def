"""Opening the upstream: as often as it takes to see a first event, while the caller can still be told otherwise."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)

from app.config import Settings
from app.domain.errors import UpstreamError, UpstreamTimeout
from app.domain.events import Error, read
from app.observability import Metric, meter
from app.providers.base import ProviderStream

_backoff = wait_exponential_jitter(multiplier=0.2, max=2)


class Opened:
    """A stream that has had its first events."""

    def __init__(self, stream: ProviderStream, first: list[bytes]) -> None:
        self.stream = stream
        self.first = first


Open = Callable[[], Awaitable[ProviderStream]]


async def open_upstream(tries: Iterator[Open], settings: Settings, attempted: Callable[[], None]) -> Opened:
    """Send the request until its first event is there; `attempted` is called before each of the `tries`.

    Another try starts only within `peek_timeout` of the first, so that every refusal can still be an HTTP status, and
    not before the upstream's `retry-after`.

    Raises:
        UpstreamError: the last try's.
    """
    attempts = AsyncRetrying(
        retry=retry_if_exception(lambda exc: isinstance(exc, UpstreamError) and exc.retryable),
        stop=stop_after_attempt(settings.max_retries + 1) | stop_before_delay(settings.peek_timeout),
        wait=_wait,
        before_sleep=_count_error,
        reraise=True,
    )

    async def attempt() -> Opened:
        attempted()
        return await _open_once(next(tries), settings.first_event_timeout)

    try:
        return await attempts(attempt)
    finally:
        attempts.iter_state.reset()  # its actions refer to it, and would wait for the collector together


def _count_error(state: RetryCallState) -> None:
    """The last try's is the generation's own."""
    exc = state.outcome.exception() if state.outcome is not None else None
    if isinstance(exc, UpstreamError):
        meter.count(Metric.UPSTREAM_ERRORS, exc.code)


def _wait(state: RetryCallState) -> float:
    assert state.outcome is not None
    exc = state.outcome.exception()
    asked = exc.retry_after if isinstance(exc, UpstreamError) else None
    return _backoff(state) if asked is None else asked


async def _open_once(open_stream: Open, timeout: float) -> Opened:
    try:
        async with asyncio.timeout(timeout):
            stream = await open_stream()
            try:
                return Opened(stream, await _first_events(stream))
            except BaseException:
                await stream.aclose()
                raise
    except TimeoutError:
        raise UpstreamTimeout("The upstream did not begin to answer in time.") from None


async def _first_events(stream: ProviderStream) -> list[bytes]:
    events = await stream.read()
    if not events:
        raise UpstreamError("The upstream answered without an event.", code="upstream_truncated", retryable=True)
    try:
        _, first = read(events[0])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise malformed() from None
    if isinstance(first, Error):
        raise stream_error(first)
    return events


def malformed() -> UpstreamError:
    return UpstreamError("The upstream sent an event that cannot be read.", code="upstream_malformed")


# What an `error` event means, by the status that the Messages API gives its kind; the rest are the upstream's failures.
_STREAM_ERRORS: Final = {
    "overloaded_error": (529, "upstream_overloaded"),
    "rate_limit_error": (429, "upstream_rate_limited"),
    "timeout_error": (504, "upstream_timeout"),
}
_CALLERS_FAULT: Final = ("invalid_request_error", "not_found_error", "request_too_large")


def stream_error(event: Error) -> UpstreamError:
    """The error of a stream that began well."""
    kind = event.error.type
    if kind in _CALLERS_FAULT:
        return UpstreamError(event.error.message, http_status=400, type=kind, code="upstream_refused")
    status, code = _STREAM_ERRORS.get(kind, (502, "upstream_error"))
    return UpstreamError(
        "The upstream ended the stream with an error.",
        http_status=status,
        type=kind if kind in _STREAM_ERRORS else "api_error",
        code=code,
        retryable=True,
    )
