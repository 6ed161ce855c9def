"""The application of a process, from its start to its end; and another one after a restore."""

import gc
import random
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from os import urandom
from typing import Any, Final

from fastapi import FastAPI

from app.streaming.engine import Engine

_SEED_BYTES: Final = 48


class Lifetime:
    """Opened and closed in turns, each time with an application of its own.

    Copies of one memory snapshot must have nothing in common: no connection, credential, instance, lease, cache or
    clock reading. So nothing of that is open while the snapshot is taken, and everything is made anew behind it; what
    was imported stays, and is what takes the time.
    """

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        self._make = make
        self._lifespan: AbstractAsyncContextManager[Mapping[str, Any] | None]
        self.app: FastAPI
        # What every request of the application finds in its state.
        self.state: dict[str, Any]

    async def open(self) -> None:
        """Make the application and start it.

        Raises:
            pydantic.ValidationError, pydantic_settings.SettingsError, CatalogueError: it cannot be made so.
        """
        self.app = self._make()
        self._lifespan = self.app.router.lifespan_context(self.app)
        self.state = {**(await self._lifespan.__aenter__() or {})}

    async def close(self) -> None:
        await self._lifespan.__aexit__(None, None, None)

    @property
    def engine(self) -> Engine:
        engine: Engine = self.app.state.engine
        return engine

    async def before_snapshot(self) -> None:
        """Import what would be imported later, and close everything."""
        await self.engine.provider()
        await self.close()
        gc.collect()

    async def after_restore(self) -> None:
        """Be another process than all other copies."""
        reseed()
        await self.open()


def reseed() -> None:
    """Other random numbers than every other copy of this process: Python's, and those that TLS takes."""
    random.seed(urandom(_SEED_BYTES))
    ssl.RAND_add(urandom(_SEED_BYTES), _SEED_BYTES)
