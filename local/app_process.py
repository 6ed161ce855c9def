"""The app itself, as a child with everything it needs in its environment."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from app.config import Settings
from local.aws_lambda.container import remove_containers
from local.processes import Child, running
from local.workflow_process import Workflow

# Streams may run on this long after Ctrl-C, and then get their terminal events. With what the others take, 3 s in all.
_DRAIN_GRACE = 0.5
_LAST_EVENTS = 1.0
# An environment has 2 s for its end.
_LAST_ENVIRONMENTS = 4.0
# Docker takes longer with a dozen at once.
_LAST_CONTAINERS = 30.0
# As Dockerfile and infra have them; the function is invoked every minute there too.
_FUNCTION = {
    "HEADWATER_HOME": "lambda",
    "HEADWATER_HOST": "127.0.0.1",
    "AWS_LWA_READINESS_CHECK_PATH": "/livez",
    "AWS_LWA_PASS_THROUGH_PATH": "/events",
    "AWS_LWA_ERROR_STATUS_CODES": "599",
}
_STREAMING = {"AWS_LWA_INVOKE_MODE": "response_stream", "HEADWATER_BACKGROUND_FUNCTION": "headwater"}
_BUFFERED = {"AWS_LWA_INVOKE_MODE": "buffered"}
# Each is a process: no more at once than this machine can bear, with time to start side by side.
_OF_ITEMS = ["--environments", "8", "--init-timeout", "60"]
_MAINTENANCE = ["--schedule", "60", '{"headwater": "maintenance"}']


@contextmanager
def running_app(
    settings: Settings, given: Mapping[str, str], *, port: int, reload: bool = False, log: IO[bytes] | None = None
) -> Iterator[Child]:
    """What it says goes to `log`, or to the terminal."""
    grace = settings.drain_grace if "drain_grace" in settings.model_fields_set else _DRAIN_GRACE
    environment = {**os.environ, **given, "HEADWATER_PORT": str(port), "HEADWATER_DRAIN_GRACE": str(grace)}
    command = _reloading(settings, port) if reload else [sys.executable, "-m", "app"]
    patience = grace + _LAST_EVENTS
    with running("The app", command, environment, log=log, dies_with_us=True, patience=patience) as app:
        yield app


@contextmanager
def running_function(
    settings: Settings,
    given: Mapping[str, str],
    *,
    port: int,
    workflow: Workflow | None = None,
    log: IO[bytes] | None = None,
    options: Sequence[str] = (),
    image: str | None = None,
) -> Iterator[Child]:
    """The app in environments of a local Lambda, which come and go with the requests.

    `log` as above; `options` are further ones of `python -m local.aws_lambda`; `image` has the app in containers.
    """
    environment = {**given, **_STREAMING, **(workflow.environment if workflow else {})}
    where = ["--host", settings.host, "--port", str(port), *_MAINTENANCE, *options]
    with _running_lambda("The local Lambda", where, environment, log, image) as emulator:
        yield emulator


@contextmanager
def running_batch_function(given: Mapping[str, str], workflow: Workflow) -> Iterator[Child]:
    """The app once more, as the function that the state machine invokes."""
    environment = {**given, **_BUFFERED, **workflow.environment}
    where = ["--name", workflow.machine.name, "--port", "0", "--invoke-port", str(workflow.invoke_port), *_OF_ITEMS]
    with _running_lambda("The local Lambda of batches", where, environment, None) as emulator:
        yield emulator


@contextmanager
def _running_lambda(
    name: str, options: Sequence[str], environment: Mapping[str, str], log: IO[bytes] | None, image: str | None = None
) -> Iterator[Child]:
    command = [sys.executable, "-m", "local.aws_lambda", *options, "--port-variable", "HEADWATER_PORT"]
    own = {**environment, **_FUNCTION}
    command += _containers(image, own) if image else ["--", sys.executable, "-m", "app"]
    patience = _LAST_CONTAINERS if image else _LAST_ENVIRONMENTS
    process = running(name, command, {**os.environ, **own}, log=log, dies_with_us=True, patience=patience)
    with ExitStack() as behind, process as emulator:
        if image:
            behind.callback(remove_containers, emulator.process.pid)
        yield emulator


def _containers(image: str, environment: Mapping[str, str]) -> list[str]:
    """Processes find all that we have in our environment; a container finds what is named."""
    settings = {name for name in os.environ if name.startswith("HEADWATER_")}
    return ["--image", image, *(part for name in sorted({*environment, *settings}) for part in ("--env", name))]


def _reloading(settings: Settings, port: int) -> Sequence[str]:
    where = ["--host", settings.host, "--port", str(port), "--reload", "--reload-dir", "app"]
    return [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", *where]
