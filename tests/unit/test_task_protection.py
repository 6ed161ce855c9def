"""What a task tells the agent of ECS, which a real HTTP server plays."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.entrypoints.task_protection import TaskProtection
from tests.support.ecs_agent import BLOCKED, Agent, running_agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    with running_agent() as running:
        yield running


class Work:
    """Stands for what runs in the process."""

    def __init__(self) -> None:
        self.busy = False
        self.looked = asyncio.Event()

    def __call__(self) -> bool:
        self.looked.set()
        return self.busy

    async def is_seen(self) -> None:
        """Twice looked at: what was done about the first look has been done."""
        for _ in range(2):
            self.looked.clear()
            async with asyncio.timeout(10):
                await self.looked.wait()


@asynccontextmanager
async def keeping(agent: str, work: Work, *, longest: float = 900, again: float = 60) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(TaskProtection(agent, work, longest, tick=0.01, again=again).run())
        yield
        task.cancel()


async def test_a_task_is_protected_from_its_first_generation_to_its_last(agent: Agent) -> None:
    work = Work()
    async with keeping(agent.uri, work):
        await work.is_seen()
        assert not agent.asked, "nothing is asked for a task that has nothing to do"

        work.busy = True
        await agent.was_asked(1)
        await work.is_seen()
        work.busy = False
        asked = await agent.was_asked(2)

    assert asked == [{"ProtectionEnabled": True, "ExpiresInMinutes": 16}, {"ProtectionEnabled": False}]


async def test_protection_is_asked_for_again_before_it_could_end_in_a_stream(agent: Agent) -> None:
    work = Work()
    work.busy = True
    async with keeping(agent.uri, work, longest=60, again=0.05):
        asked = await agent.was_asked(3)

    assert asked[:3] == [{"ProtectionEnabled": True, "ExpiresInMinutes": 2}] * 3


async def test_between_two_requests_the_agent_is_left_alone(agent: Agent) -> None:
    work = Work()
    work.busy = True
    async with keeping(agent.uri, work):
        await agent.was_asked(1)
        for _ in range(5):
            await work.is_seen()

    assert len(agent.asked) == 1


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [(200, BLOCKED, "DEPLOYMENT_BLOCKED"), (400, {"error": {"Code": "AccessDeniedException"}}, "400")],
)
async def test_a_refusal_is_logged_and_asked_again(
    agent: Agent, caplog: pytest.LogCaptureFixture, status: int, answer: dict[str, Any], told: str
) -> None:
    agent.status, agent.answer = status, answer
    work = Work()
    work.busy = True
    with caplog.at_level(logging.WARNING):
        async with keeping(agent.uri, work, again=0.05):
            await agent.was_asked(2)

    assert told in caplog.text


async def test_an_agent_that_is_away_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.busy = True
    with caplog.at_level(logging.WARNING):
        async with keeping("http://127.0.0.1:1", work, again=0.01):
            for _ in range(3):
                await work.is_seen()

    assert "the task's protection was not changed" in caplog.text
