"""What all copies of logs in the store have in common: they outlive failed polls, and what has ended is begun anew."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest

from app.config import Settings
from app.domain.events import Event
from app.domain.ids import uuid7
from app.streaming.log import Log
from app.streaming.polled_logs import PolledLogs


class Counting(PolledLogs):
    """Its store can be asked once the failures are over; each look finds one more event, and the third is the last."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__(Settings(follow_tick=0.01))
        self._failures = list(failures)

    async def _catch_up(self, logs: Mapping[UUID, Log]) -> bool:
        if self._failures:
            raise self._failures.pop()
        for log in logs.values():
            log.append([Event(log.last_seq + 1, "ping", b"{}")], end=log.last_seq == 2)
        return bool(logs)


@asynccontextmanager
async def polling(logs: PolledLogs) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(logs.run())
        yield
        loop.cancel()


async def whole(log: Log) -> list[int]:
    async with asyncio.timeout(5):
        await log.wait_ended()
    return [event.seq for event in log.after(0)]


@pytest.mark.parametrize(
    ("failure", "level"),
    [(psycopg.OperationalError("away"), logging.WARNING), (ValueError("a bug"), logging.ERROR)],
)
async def test_failed_polls_are_told_and_readers_get_what_came_all_the_same(
    caplog: pytest.LogCaptureFixture, failure: Exception, level: int
) -> None:
    logs = Counting(failure, failure)
    async with polling(logs):
        with logs.reading(uuid7()) as log:
            assert await whole(log) == [1, 2, 3]
    assert [record.levelno for record in caplog.records if record.name == PolledLogs.__module__] == [level] * 2


async def test_a_log_that_has_ended_is_begun_anew_beside_those_who_still_read_it() -> None:
    logs, id = Counting(), uuid7()
    async with polling(logs):
        with logs.reading(id) as first:
            assert await whole(first) == [1, 2, 3]
            with logs.reading(id) as again:
                assert not again.ended
                assert await whole(again) == [1, 2, 3]
