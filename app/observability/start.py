"""The beginning of a process: a cold start once, and what comes back from a memory snapshot as a restore."""

import time
from typing import Literal
from uuid import UUID

from app.config import Settings
from app.observability import logs
from app.observability.logs import logger
from app.observability.metrics import meter
from app.observability.names import Metric

Start = Literal["cold", "restored", "warm"]

# Where nobody waits for the start: it lies before the first request, or before the snapshot.
_AHEAD = ("provisioned-concurrency", "snap-start")


class _Process:
    """Of the process and not of an application: a restore makes another one of those."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.starts = 0
        self.instance = ""
        # How it began, until a request has come for which it did.
        self.start: Start = "warm"


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
        cold = settings.lambda_initialization not in _AHEAD
        _process.start = "cold" if cold else "warm"
        logger.info("instance started", extra={"cold_start": cold, "duration_ms": took})
        if cold:
            meter.instance({Metric.COLD_START: 1})
    elif settings.is_snapshotted:
        _process.start = "restored"
        logger.info("instance restored", extra={"cold_start": False, "duration_ms": took})
        meter.instance({Metric.RESTORE_TIME: took})


def takes_start() -> Start:
    """How the process began, to the request that this was for: the first. Any other finds it warm."""
    start, _process.start = _process.start, "warm"
    return start


def served_by(home: str, start: Start) -> str:
    """For the header `server-timing` (https://www.w3.org/TR/server-timing/): who answers, and how it began."""
    return f"home;desc={home}, instance;desc={_process.instance}, start;desc={start}"


def name_instance(id: UUID) -> None:
    """Lines are of this instance from now on."""
    _process.instance = str(id)
    logger.append_keys(instance=_process.instance)
