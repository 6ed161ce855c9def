"""The log of one completion: positions, waiting, and the gap before the end of an interrupted one."""

import asyncio
from collections.abc import Sequence

import pytest

from app.domain.events import Event
from app.streaming.log import Log


def event(seq: int, type: str = "ping") -> Event:
    return Event(seq, type, b'{"type":"ping"}')


def log_of(*seqs: int, ended: bool = False) -> Log:
    log = Log()
    if seqs:
        log.append([event(seq) for seq in seqs], end=ended)
    return log


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, []), (4, []), (1000, [])],
)
@pytest.mark.parametrize("ended", [False, True])
def test_after_a_position_come_the_events_past_it(after: int, expected: Sequence[int], *, ended: bool) -> None:
    assert [e.seq for e in log_of(1, 2, 3, ended=ended).after(after)] == list(expected)


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, [1, 2, 100]), (1, [2, 100]), (2, [100]), (3, [100]), (50, [100]), (99, [100]), (100, []), (101, [])],
)
def test_the_end_may_lie_beyond_what_a_reader_has_seen(after: int, expected: Sequence[int]) -> None:
    assert [e.seq for e in log_of(1, 2, 100, ended=True).after(after)] == list(expected)


def test_a_log_may_hold_nothing_but_its_end() -> None:
    log = log_of(7, ended=True)
    assert [e.seq for e in log.after(0)] == [7]
    assert [e.seq for e in log.after(6)] == [7]
    assert log.after(7) == []


def test_an_empty_log_is_at_zero() -> None:
    assert log_of().last_seq == 0
    assert log_of().after(0) == []
    assert log_of(1, 2).last_seq == 2


async def test_an_append_wakes_everyone_who_waits() -> None:
    log = log_of(1)
    waiters = [log.changed() for _ in range(3)]
    waiters[1].cancel()
    assert not waiters[0].done()
    log.append([event(2)])
    assert [waiter.done() for waiter in waiters] == [True, True, True]
    assert not log.changed().done(), "the next wait is for the next append"


async def test_waiting_for_the_end_ends_at_the_end_only() -> None:
    log = log_of(1)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(log.wait_ended())
        log.append([event(2)])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        log.append([event(3)], end=True)
    assert log.ended
    await log.wait_ended()


def test_nothing_comes_after_the_end() -> None:
    log = log_of(1, ended=True)
    with pytest.raises(AssertionError):
        log.append([event(2)])
