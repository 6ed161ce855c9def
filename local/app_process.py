"""The app itself, as a child with everything it needs in its environment."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from app.config import Settings
from local.processes import Child, running
from local.workflow_process import Workflow

# Streams may run on this long after Ctrl-C, and then get their terminal events. With what the others take, 3 s in all.
_DRAIN_GRACE = 0.5
_LAST_EVENTS = 1.0
# An environment has 2 s for its end.
_LAST_ENVIRONMENTS = 4.0
# As Dockerfile and the stage `dev` have them; and as infra invokes the function every minute.
_NAME = "headwater-dev"
_FUNCTION = {
    "HEADWATER_HOME": "lambda",
    "HEADWATER_BACKGROUND_FUNCTION": _NAME,
    "AWS_LWA_INVOKE_MODE": "response_stream",
    "AWS_LWA_READINESS_CHECK_PATH": "/livez",
    "AWS_LWA_PASS_THROUGH_PATH": "/events",
    "AWS_LWA_ERROR_STATUS_CODES": "599",
}
_MAINTENANCE = ["--schedule", "60", '{"headwater": "maintenance"}']


@contextmanager
def running_app(settings: Settings, given: Mapping[str, str], *, port: int, reload: bool) -> Iterator[Child]:
    grace = settings.drain_grace if "drain_grace" in settings.model_fields_set else _DRAIN_GRACE
    environment = {**os.environ, **given, "HEADWATER_PORT": str(port), "HEADWATER_DRAIN_GRACE": str(grace)}
    command = _reloading(settings, port) if reload else [sys.executable, "-m", "app"]
    with running("The app", command, environment, dies_with_us=True, patience=grace + _LAST_EVENTS) as app:
        yield app


@contextmanager
def running_function(
    settings: Settings, given: Mapping[str, str], *, port: int, workflow: Workflow | None
) -> Iterator[Child]:
    """The app in environments of a local Lambda, which come and go with the requests."""
    environment = {**os.environ, **given, **_FUNCTION, "HEADWATER_HOST": "127.0.0.1"}
    where = ["--name", _NAME, "--host", settings.host, "--port", str(port), "--port-variable", "HEADWATER_PORT"]
    if workflow is not None:
        environment |= workflow.environment
        where += ["--invoke-port", str(workflow.invoke_port)]
    command = [sys.executable, "-m", "local.aws_lambda", *where, *_MAINTENANCE, "--", sys.executable, "-m", "app"]
    with running("The local Lambda", command, environment, dies_with_us=True, patience=_LAST_ENVIRONMENTS) as emulator:
        yield emulator


def _reloading(settings: Settings, port: int) -> Sequence[str]:
    where = ["--host", settings.host, "--port", str(port), "--reload", "--reload-dir", "app"]
    return [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", *where]
