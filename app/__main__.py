"""`python -m app`: the command of both homes."""

import gc

gc.disable()  # what imports make stays: to look it through again and again is a tenth of the start

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError
from starlette.types import ASGIApp

from app.catalogue import CatalogueError
from app.config import Settings
from app.entrypoints.task_protection import protection
from app.head_limit import HeadLimit
from app.main import create_app
from app.observability import TracingMissing

# Past the drain's grace: the last terminal events have to reach their readers.
LAST_BYTES: Final = 10


class Server(uvicorn.Server):
    """uvicorn that drains: told to stop, it closes its listener, and streams run on for the grace.

    uvicorn alone would raise the signal again at the end, so that a clean stop looked like a crash.
    """

    def __init__(self, config: uvicorn.Config, begin_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._begin_drain = begin_drain

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self.handle_exit, sig, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._begin_drain()
        super().handle_exit(sig, frame)


def _application(settings: Settings) -> tuple[ASGIApp, Callable[[], None]]:
    """The application, and what tells it to drain.

    Raises:
        CatalogueError: the file of models cannot be read or understood.
        TracingMissing: traces are asked for, and what sends them is not installed.
    """
    if settings.lambda_function:
        from app.entrypoints.web_adapter import BehindWebAdapter

        behind = BehindWebAdapter(settings)
        return behind, behind.begin_drain
    app = create_app(settings, alongside=protection(settings))
    return app, app.state.engine.begin_drain


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as exc:
        for error in exc.errors(include_input=False, include_url=False):
            print(f"Setting {'.'.join(map(str, error['loc']))}: {error['msg']}", file=sys.stderr)  # noqa: T201
        return 2
    except SettingsError as exc:
        print(f"Settings: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        app, begin_drain = _application(settings)
    except CatalogueError as exc:
        print(f"Setting models_file: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    except TracingMissing as exc:
        print(exc, file=sys.stderr)  # noqa: T201
        return 2
    gc.enable()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        loop="uvloop",
        http=HeadLimit,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # What is in `x-forwarded-*` anybody may have written.
        proxy_headers=False,
        timeout_keep_alive=int(settings.keep_alive),
        timeout_graceful_shutdown=int(settings.drain_grace) + LAST_BYTES,
    )
    server = Server(config, begin_drain)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
