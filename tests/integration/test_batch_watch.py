"""A watcher's copy of a batch's log, which here is rows that the test writes."""

import asyncio
from typing import LiteralString

from pydantic import SecretStr

from app.batches.watch import Watch
from app.config import Settings
from app.db.pool import create_pool
from app.domain.ids import uuid7
from tests.support.postgres import Postgres

_BATCH: LiteralString = """
    INSERT INTO batches (id, tenant, key_id, parallelism, on_failure, approval, queued, deadline, last_seq)
    VALUES (%(id)s, 'default', %(id)s, 1, 'continue', 'none', 0, now(), %(events)s)
"""
_EVENTS: LiteralString = """
    INSERT INTO batch_events (batch_id, seq, type, data)
    SELECT %(id)s, n, 'item', '{}' FROM generate_series(1, %(events)s) n
"""


async def test_a_long_log_is_caught_up_with_whatever_the_tick(database_url: str) -> None:
    settings = Settings(database_url=SecretStr(database_url), follow_tick=60, follow_tick_max=60)
    id, events = uuid7(), 3500
    with Postgres.connect(database_url) as conn:
        for query in (_BATCH, _EVENTS):
            conn.execute(query, {"id": id, "events": events})
    async with create_pool(settings) as pool, Watch(pool, settings) as watch:
        with watch.reading(id) as log:
            async with asyncio.timeout(10):
                while log.last_seq < events:
                    await log.changed()
    assert [event.seq for event in log.after(0)] == list(range(1, events + 1))
