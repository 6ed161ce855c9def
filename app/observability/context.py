"""What belongs to one request, and to what it begins: a context that tasks inherit, never the process's."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from app.observability.logs import logger
from app.observability.tracing import annotate, untraced

_arrived: ContextVar[float | None] = ContextVar("arrived", default=None)


def arrive() -> float:
    """A request begins here, now: by the monotonic clock. Nothing of an earlier one is left."""
    now = time.monotonic()
    _arrived.set(now)
    logger.thread_safe_clear_keys()
    return now


def arrived_at() -> float | None:
    """When the request that this belongs to arrived; None where there is none."""
    return _arrived.get()


def bind(**keys: Any) -> None:
    """Put these on every later log line of this request and of what it begins."""
    logger.thread_safe_append_keys(**keys)


def keys() -> dict[str, Any]:
    """What `bind` has put on lines here."""
    return dict(logger.thread_safe_get_current_keys())


def annotate_with_keys() -> None:
    """Put them on the current span too, all at once: each time has a price of its own."""
    annotate(**keys())


@contextmanager
def apart() -> Iterator[None]:
    """For what a request happens to do that is not its own: lines in here have none of its keys, and it has no span."""
    kept = keys()
    logger.thread_safe_clear_keys()
    try:
        with untraced():
            yield
    finally:
        logger.thread_safe_clear_keys()
        logger.thread_safe_append_keys(**kept)
