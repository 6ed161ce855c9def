"""The app itself, as a child with everything it needs in its environment."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from app.config import Settings
from local.processes import Child, running

# Streams may run on this long after Ctrl-C, and then get their terminal events. With what the others take, 3 s in all.
_DRAIN_GRACE = 0.5
_LAST_EVENTS = 1.0


@contextmanager
def running_app(settings: Settings, given: Mapping[str, str], *, port: int, reload: bool) -> Iterator[Child]:
    grace = settings.drain_grace if "drain_grace" in settings.model_fields_set else _DRAIN_GRACE
    environment = {**os.environ, **given, "HEADWATER_PORT": str(port), "HEADWATER_DRAIN_GRACE": str(grace)}
    command = _reloading(settings, port) if reload else [sys.executable, "-m", "app"]
    with running("The app", command, environment, dies_with_us=True, patience=grace + _LAST_EVENTS) as app:
        yield app


def _reloading(settings: Settings, port: int) -> Sequence[str]:
    where = ["--host", settings.host, "--port", str(port), "--reload", "--reload-dir", "app"]
    return [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", *where]
