"""The headers in which each dialect tells what a caller's limits leave it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.limits import WINDOW_SECONDS, Limits, Window


def native(limits: Limits) -> dict[str, str]:
    """The fields `RateLimit-Policy` and `RateLimit` of the IETF's draft "RateLimit header fields for HTTP"."""
    named = list(_named(limits))
    if not named:
        return {}
    return {
        "ratelimit-policy": ", ".join(f'"{name}";q={window.limit};w={WINDOW_SECONDS}' for name, window in named),
        "ratelimit": ", ".join(f'"{name}";r={window.remaining};t={WINDOW_SECONDS}' for name, window in named),
    }


def anthropic(limits: Limits) -> dict[str, str]:
    """Anthropic's API reference, "Rate limits": `reset` is when all of it is there again."""
    reset = (datetime.now(UTC) + timedelta(seconds=WINDOW_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        f"anthropic-ratelimit-{name}-{field}": value
        for name, window in _named(limits)
        for field, value in (("limit", str(window.limit)), ("remaining", str(window.remaining)), ("reset", reset))
    }


def openai(limits: Limits) -> dict[str, str]:
    """OpenAI's documentation, "Rate limits": `reset` is how long it takes until all of it is there again."""
    return {
        f"x-ratelimit-{field}-{name}": value
        for name, window in _named(limits)
        for field, value in (
            ("limit", str(window.limit)),
            ("remaining", str(window.remaining)),
            ("reset", f"{WINDOW_SECONDS}s"),
        )
    }


def _named(limits: Limits) -> Iterator[tuple[str, Window]]:
    if limits.requests is not None:
        yield "requests", limits.requests
    if limits.tokens is not None:
        yield "tokens", limits.tokens


_ALL: Final = Limits(Window(0, 0), Window(0, 0))
NAMES: Final = [name for tell in (native, anthropic, openai) for name in tell(_ALL)]
