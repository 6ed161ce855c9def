"""What runs in this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

from app.domain.errors import AppError, Unavailable
from app.streaming.generation import Generation, Interrupted
from app.streaming.recorder import LeaseLost

# After the grace of a drain: time for the last commits.
_LAST_COMMITS: Final = 5.0
_ARRIVAL: Final = 0.02


class Registry:
    """The generations of this process, up to `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._arriving = 0
        self._generations: dict[UUID, Generation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        # What those that arrive after the grace are told.
        self._ending: AppError | None = None
        # Ended here without a final state in the store, because that was away for too long.
        self.abandoned: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._generations)

    def get(self, id: UUID) -> Generation | None:
        return self._generations.get(id)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Keep a place for a generation that is about to be admitted.

        Raises:
            Unavailable: there is none.
        """
        if self.draining:
            raise Unavailable("This instance is shutting down. Try again.", code="draining", retry_after=1)
        if len(self._generations) + self._arriving >= self._capacity:
            raise Unavailable("This instance has no room for another stream. Try again.", code="full", retry_after=1)
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    def launch(self, generation: Generation) -> None:
        """Run it in a task of its own; it is found by its id until it has ended."""
        self._generations[generation.id] = generation
        if self._ending is not None:
            generation.stop(self._ending)
        task = asyncio.create_task(self._run(generation), name=f"generation {generation.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, generation: Generation) -> None:
        try:
            await generation.run()
        finally:
            del self._generations[generation.id]
            if not generation.settled and not isinstance(generation.error, LeaseLost):
                self.abandoned.add(generation.id)

    def stop_all(self, reason: AppError) -> None:
        for generation in list(self._generations.values()):
            generation.stop(reason)

    async def drain(self, grace: float) -> bool:
        """Let generations finish for `grace` seconds, then interrupt the rest; whether all have ended."""
        self.draining = True
        await self.wait(grace)
        self._ending = Interrupted("The service is shutting down; what was written so far is kept.")
        self.stop_all(self._ending)
        return await self.wait(_LAST_COMMITS)

    async def wait(self, seconds: float) -> bool:
        """Whether all generations have ended within so many seconds, those among them that were just being admitted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks or self._arriving:
                    await (asyncio.wait(self._tasks) if self._tasks else asyncio.sleep(_ARRIVAL))
        return not self._tasks
