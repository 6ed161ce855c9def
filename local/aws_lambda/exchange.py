"""Where an environment and what runs in it meet: no HTTP, no processes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.domain.ids import uuid7
from local.aws_lambda.invocation import Failure, Invocation


@dataclass(slots=True)
class Extension:
    name: str
    events: frozenset[str]
    inbox: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    waits: bool = False


class Exchange:
    """`waiting` are the runtime's open polls; `failure` is why the environment is of no use any more."""

    def __init__(self) -> None:
        self.waiting = 0
        self.at_snapshot = False
        self.failure: Failure | None = None
        self.running: dict[str, Invocation] = {}
        self.extensions: dict[str, Extension] = {}
        self._inbox: asyncio.Queue[Invocation] = asyncio.Queue()
        self._restored = asyncio.Event()
        self._failed = asyncio.Event()
        self._changed = asyncio.Event()

    # --- The environment's side ---

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when it holds.

        Raises:
            Failure: it never will, as the runtime failed or its process ended.
        """
        while not condition():
            if self.failure is not None:
                raise self.failure
            self._changed.clear()
            await self._changed.wait()

    def is_initialised(self) -> bool:
        """Runtime and extensions wait for what comes; or for the snapshot to be taken."""
        return bool(self.waiting or self.at_snapshot) and all(each.waits for each in self.extensions.values())

    def is_idle(self) -> bool:
        """Everything that had something to do with the last invocation is done."""
        return self.waiting > 0 and all(each.waits for each in self.extensions.values() if "INVOKE" in each.events)

    def deliver(self, invocation: Invocation) -> None:
        self.running[invocation.id] = invocation
        self._inbox.put_nowait(invocation)
        self.tell_extensions("INVOKE", requestId=invocation.id, deadlineMs=round(invocation.deadline * 1000))

    def tell_extensions(self, kind: str, **event: Any) -> None:
        for extension in self.extensions.values():
            if kind in extension.events:
                extension.inbox.put_nowait({"eventType": kind, **event})

    def restore(self) -> None:
        self._restored.set()

    def forget(self, invocation: Invocation) -> None:
        del self.running[invocation.id]

    def fail(self, failure: Failure) -> None:
        """The first reason is the one that counts."""
        self.failure = self.failure or failure
        self._failed.set()
        self._changed.set()

    async def failed(self) -> None:
        """Return when there is a failure."""
        await self._failed.wait()

    # --- The runtime's side ---

    async def next(self) -> Invocation:
        """The next invocation; none comes while the environment is frozen."""
        self.waiting += 1
        self._changed.set()
        try:
            return await self._inbox.get()
        finally:
            self.waiting -= 1

    async def wait_for_restore(self) -> None:
        self.at_snapshot = True
        self._changed.set()
        await self._restored.wait()
        self.at_snapshot = False

    def end(self, invocation: Invocation, failure: Failure | None = None) -> None:
        invocation.answer.end(failure)
        self._changed.set()

    # --- The extensions' side ---

    def register(self, name: str, events: frozenset[str]) -> str:
        id = str(uuid7())
        self.extensions[id] = Extension(name, events)
        return id

    async def next_event(self, extension: Extension) -> dict[str, Any]:
        extension.waits = True
        self._changed.set()
        try:
            return await extension.inbox.get()
        finally:
            extension.waits = False
