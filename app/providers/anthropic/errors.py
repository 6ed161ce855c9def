"""The SDK's errors as ours: what the caller may know, and whether another try could help."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anthropic
import httpx2

from app.domain.errors import UpstreamError, UpstreamTimeout

_log = logging.getLogger(__name__)

# What the caller did wrong comes back in the upstream's words; all else in ours, which name no account of ours.
_CALLERS_FAULT: Final = {400, 404, 413, 422}
_MESSAGES: Final = {
    429: "The upstream's rate limit is reached.",
    529: "The upstream is overloaded.",
}
_LATE: Final = "The upstream did not answer in time."
_RETRYABLE: Final = {408, 409, 500, 502, 503}


def status_error(exc: anthropic.APIStatusError) -> UpstreamError:
    """An HTTP status of the upstream. Its 401 and 403 are about our credentials, so the caller gets a 502."""
    status = exc.status_code
    if status in _CALLERS_FAULT:
        message = exc.api_message or "The upstream refused the request."
        return UpstreamError(
            message, http_status=status, type=exc.type or "invalid_request_error", code="upstream_refused"
        )
    if status in (429, 529):
        return UpstreamError(
            _MESSAGES[status],
            http_status=status,
            type="rate_limit_error" if status == 429 else "overloaded_error",
            code="upstream_rate_limited" if status == 429 else "upstream_overloaded",
            retry_after=_retry_after(exc.response),
            retryable=True,
        )
    if status in (401, 403):
        return UpstreamError("The upstream refused this service's credentials.", code="upstream_credentials")
    if status == 504:
        return UpstreamTimeout(_LATE)
    return UpstreamError("The upstream failed.", retryable=status in _RETRYABLE)


def connection_error(exc: Exception) -> UpstreamError:
    """The connection could not be made, broke, or stayed silent."""
    if isinstance(exc, (anthropic.APITimeoutError, httpx2.TimeoutException, TimeoutError)):
        return UpstreamTimeout(_LATE)
    return UpstreamError("The connection to the upstream broke.", code="upstream_connection", retryable=True)


def unsendable() -> UpstreamError:
    """The SDK would not send it: the model's name is no part of an address, or this upstream lacks the call."""
    message = "This upstream has no such model or call."
    return UpstreamError(message, http_status=400, type="invalid_request_error", code="upstream_refused")


def not_configured(exc: Exception) -> UpstreamError:
    """The SDK found no key, no AWS credentials or no region: what is missing is for our log."""
    _log.error("the upstream is not configured: %s", exc)
    return UpstreamError("The upstream of this service is not configured.", code="upstream_credentials")


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, if the header is a number of them."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


@contextmanager
def errors_as_ours() -> Iterator[None]:
    try:
        yield
    except anthropic.APIStatusError as exc:
        raise status_error(exc) from exc
    except (anthropic.APIConnectionError, httpx2.HTTPError, OSError) as exc:
        raise connection_error(exc) from exc
    except (anthropic.AnthropicError, ValueError) as exc:
        raise unsendable() from exc
    except (TypeError, RuntimeError) as exc:  # what the SDK raises for want of credentials
        raise not_configured(exc) from exc
