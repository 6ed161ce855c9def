"""The maintenance run: what nobody happened to meet is put in order here. By a timer, or by a scheduled invocation."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import psycopg

from app.config import Settings
from app.db.pool import Pool
from app.streaming import repository
from app.streaming.interruption import Interruption
from app.streaming.recorder import TRANSIENT
from app.streaming.repository import Connection

_log = logging.getLogger(__name__)

_DELETIONS_AT_ONCE: Final = 1000

Chore = Callable[[Connection], Awaitable[None]]
# What takes more than the database, and so holds no connection meanwhile.
Errand = Callable[[], Awaitable[None]]


async def run_once(
    pool: Pool,
    settings: Settings,
    interruption: Interruption,
    chores: Sequence[Chore],
    errands: Sequence[Errand] = (),
) -> None:
    """End completions of lost instances, drop logs past their retention, and do what other features have to do."""
    async with pool.connection() as conn:
        lost = await repository.lost_instances(conn, settings.lease)
    for instance in lost:
        try:
            await interruption.of_dead(instance)
        except psycopg.DataError:
            _log.exception("the completions of %s cannot be ended", instance)  # the rest of the run can be done
    async with pool.connection() as conn:
        await repository.delete_expired(conn, settings.log_retention, _DELETIONS_AT_ONCE)
        for chore in chores:
            await chore(conn)
    for errand in errands:
        await errand()


async def run_forever(
    pool: Pool,
    settings: Settings,
    interruption: Interruption,
    chores: Sequence[Chore],
    errands: Sequence[Errand] = (),
) -> None:
    """`run_once` now and then, until cancelled; instances that started together drift apart."""
    while True:
        await asyncio.sleep(settings.maintenance_interval * random.uniform(0.5, 1.5))
        try:
            await run_once(pool, settings, interruption, chores, errands)
        except TRANSIENT as exc:
            _log.warning("maintenance failed, will be retried: %s", exc)
        except Exception:
            _log.exception("maintenance failed")
