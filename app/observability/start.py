"""The beginning of a process: a cold start once, and what comes back from a memory snapshot as a restore."""

import time
from uuid import UUID

from app.config import Settings
from app.observability import logs
from app.observability.logs import logger
from app.observability.metrics import meter
from app.observability.names import Metric

# Where nobody waits for the start: it lies before the first request, or before the snapshot.
_AHEAD = ("provisioned-concurrency", "snap-start")


class _Process:
    """Of the process and not of an application: a restore makes another one of those."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.starts = 0
        self.cold = False


_process = _Process()


def configure(settings: Settings) -> None:
    """An application is about to be made: what it tells of goes where its settings say."""
    _process.began = time.monotonic()
    logs.configure(settings)
    meter.configure(settings)


def started(settings: Settings) -> None:
    """It is up: the first one of a process is its start, any other comes after a restore."""
    took = round((time.monotonic() - _process.began) * 1000, 1)
    _process.starts += 1
    if _process.starts == 1:
        _process.cold = settings.lambda_initialization not in _AHEAD
        logger.info("instance started", extra={"cold_start": _process.cold, "duration_ms": took})
        if _process.cold:
            meter.instance({Metric.COLD_START: 1})
    elif settings.is_snapshotted:
        logger.info("instance restored", extra={"cold_start": False, "duration_ms": took})
        meter.instance({Metric.RESTORE_TIME: took})


def takes_cold_start() -> bool:
    """Whether this request is the one that a cold start was for: the first."""
    cold, _process.cold = _process.cold, False
    return cold


def name_instance(id: UUID) -> None:
    """Lines are of this instance from now on."""
    logger.append_keys(instance=str(id))
