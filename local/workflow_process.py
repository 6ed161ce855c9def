"""Step Functions beside the local Lambda, as a child with the environment that has its interpreter."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.addresses import free_port
from local.errors import LaunchError
from local.processes import ROOT, Child, running
from local.workflow.machine import Machine, machine_of

_HOST: Final = "127.0.0.1"
_TEMPLATE: Final = ROOT / "cdk.out" / "dev" / "Workflow.template.json"
_PYTHON: Final = ROOT / ".venv-infra" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Workflow:
    """A state machine, where its API will be, and where the function has to be that does its tasks."""

    machine: Machine
    port: int
    invoke_port: int

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """By which the app finds it."""
        return {"HEADWATER_WORKFLOW": self.machine.arn, "AWS_ENDPOINT_URL_SFN": self.url}


def local_workflow() -> Workflow:
    """Raises: LaunchError: something that it needs was not made."""
    if not _PYTHON.exists():
        raise LaunchError("What runs the workflow is not installed: `make run-workflow` installs it.")
    return Workflow(machine_of(_TEMPLATE), free_port(_HOST), free_port(_HOST))


@contextmanager
def running_workflow(workflow: Workflow, data: Path) -> Iterator[Child]:
    """Its executions are in its memory alone, so that there is nothing to wait for at its end."""
    options = ["--port", str(workflow.port), "--invoke-url", f"http://{_HOST}:{workflow.invoke_port}"]
    command = [str(_PYTHON), "-m", "local.workflow", str(_TEMPLATE), *options]
    with (
        (data / "workflow.log").open("wb") as log,
        running("The workflow", command, os.environ, log=log, dies_with_us=True, patience=0.3) as engine,
    ):
        yield engine
