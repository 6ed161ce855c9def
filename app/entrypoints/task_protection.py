"""Keeps ECS from stopping this task, to scale in or to deploy, while generations run that no connection may show.

The load balancer's deregistration waits for connections. A generation whose readers have left, or never were, has none.
"""

import asyncio
import json
import logging
import math
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.client import HTTPException
from typing import Any, Final

from app.config import Settings
from app.streaming.engine import Engine

_log = logging.getLogger(__name__)

_TICK: Final = 5.0
# After a request, whether it was granted or not. A deployment that has waited for long refuses further protection,
# and the task ends when what it has runs out.
_AGAIN: Final = 60.0
_PATIENCE: Final = 5.0


class TaskProtection:
    """Asks the agent at `agent` (ECS_AGENT_URI) for protection while `busy`; no generation takes `longest` seconds."""

    def __init__(
        self, agent: str, busy: Callable[[], bool], longest: float, *, tick: float = _TICK, again: float = _AGAIN
    ) -> None:
        self._url = f"{agent}/task-protection/v1/state"
        self._busy = busy
        # What begins just before the next request is covered to its end.
        self._minutes = math.ceil((longest + again) / 60)
        self._tick = tick
        self._again = again
        # When to ask (again) while busy. Never asked, or released since: at once.
        self._due = -math.inf

    async def run(self) -> None:
        """Look every tick, until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(self._tick)

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._busy():
            if self._due > -math.inf:
                self._due = -math.inf
                await asyncio.to_thread(self._put, {"ProtectionEnabled": False})
        elif now >= self._due:
            self._due = now + self._again
            await asyncio.to_thread(self._put, {"ProtectionEnabled": True, "ExpiresInMinutes": self._minutes})

    def _put(self, wanted: dict[str, Any]) -> None:
        """What fails is left: a protection that was not given up runs out, one that was not given is asked again."""
        request = urllib.request.Request(  # noqa: S310  the agent's own address, which ECS gives
            self._url, json.dumps(wanted).encode(), {"content-type": "application/json"}, method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as response:  # noqa: S310
                answer = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as exc:
            _log.warning("the task's protection was not changed: %s", exc)
            return
        if "protection" not in answer:
            _log.warning("the task's protection was not changed: %s", answer.get("failure") or answer.get("error"))


def protection(settings: Settings) -> Callable[[Engine], AbstractAsyncContextManager[None]] | None:
    """What to run alongside an engine, where ECS has said where its agent is."""
    agent = settings.ecs_agent_uri
    if settings.home != "fargate" or agent is None:
        return None

    @asynccontextmanager
    async def protected(engine: Engine) -> AsyncIterator[None]:
        keeper = TaskProtection(agent, lambda: len(engine.registry) > 0, settings.total_timeout)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(keeper.run())
            yield
            task.cancel()

    return protected
