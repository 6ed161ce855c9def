"""The service: finds or makes an environment for each invocation."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self

from local.aws_lambda.account import Account
from local.aws_lambda.environment import Environment
from local.aws_lambda.function import Function
from local.aws_lambda.invocation import Failure, Invocation
from local.aws_lambda.sandbox import MakeSandbox

_log = logging.getLogger(__name__)

# Before the second and the third try of an asynchronous invocation that failed, in seconds.
RETRIES: Final = (60.0, 120.0)


class Throttled(Exception):
    """All environments have what they can take, and there may be no more."""


class Service:
    """Of one function, for the time of an `async with`.

    An invocation belongs to the service: it goes on, and is billed, whether or not somebody still waits for its answer.
    """

    def __init__(self, function: Function, make_sandbox: MakeSandbox, *, retries: Sequence[float] = RETRIES) -> None:
        self.function = function
        self.account = Account()
        self.environments: list[Environment] = []
        self._snapshots: list[Environment] = []
        self._make_sandbox = make_sandbox
        self._retries = retries
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    def invoke(self, event: Any) -> Invocation:
        """Begin an invocation. Its answer tells all that becomes of it.

        Raises:
            Throttled: there is no environment for it.
        """
        invocation = Invocation(event)
        environment = self._find()
        environment.taken += 1
        self._run(self._serve(environment, invocation))
        return invocation

    def invoke_later(self, event: Any) -> None:
        """An asynchronous invocation: tried again when it fails, and nobody waits for it."""
        self._run(self._try(event))

    def schedule(self, seconds: float, event: Any) -> None:
        """Invoke it again and again, like a rule of EventBridge."""
        self._run(self._repeat(seconds, event))

    async def take_snapshot(self) -> None:
        """As publishing a version does: start the function, and stop it behind its hooks; a later restore goes on.

        Raises:
            Failure: its start or its hooks failed.
        """
        environment = self._make()
        self._snapshots.append(environment)
        await environment.start()
        await environment.freeze()

    # --- Environments ---

    def _find(self) -> Environment:
        for environment in reversed(self.environments):  # the last one used is the first one used again
            if environment.has_room:
                return environment
        if len(self.environments) >= self.function.environments:
            self.account.throttled += 1
            raise Throttled
        environment = self._snapshots.pop() if self._snapshots else self._make()
        self.environments.append(environment)
        return environment

    def _make(self) -> Environment:
        environment = Environment(self.function, self._make_sandbox(self.function), self._tasks, self.account)
        self._run(self._clear_up_behind(environment))
        return environment

    async def _clear_up_behind(self, environment: Environment) -> None:
        await environment.failed()
        for where in (self.environments, self._snapshots):
            if environment in where:
                where.remove(environment)
        await environment.end(gently=False)

    # --- Invocations ---

    async def _serve(self, environment: Environment, invocation: Invocation) -> None:
        await environment.invoke(invocation)
        environment.taken -= 1
        if invocation.answer.failure is not None:
            self.account.failed(invocation.answer.failure.type)
            _log.warning("%s: %s", invocation.answer.failure.type, invocation.answer.failure)
        if environment in self.environments:  # to the end, as the last one used
            self.environments.remove(environment)
            self.environments.append(environment)

    async def _try(self, event: Any) -> None:
        for wait in (*self._retries, None):
            try:
                await self.invoke(event).answer.whole()
            except (Failure, Throttled):
                if wait is not None:
                    await asyncio.sleep(wait)
            else:
                return

    async def _repeat(self, seconds: float, event: Any) -> None:
        while True:
            await asyncio.sleep(seconds)
            self.invoke_later(event)

    # --- Its own time ---

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        all_there_are = (*self.environments, *self._snapshots)
        await asyncio.gather(*(each.end(gently=True) for each in all_there_are), return_exceptions=True)
        await self._tasks.__aexit__(None, None, None)  # what went wrong outside is none of theirs
