"""As what the Lambda home of a comparison runs: the image where docker has it, else processes."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.aws_lambda.adapter import STAND_IN, built_adapter
from local.errors import LaunchError

# As `make images` names it.
_BUILT: Final = "headwater"
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class LambdaHome:
    """`image` is None for processes; `told` says it to a reader."""

    image: str | None
    told: str


def choose_lambda_home(image: str | None, *, processes: bool) -> LambdaHome:
    """The `image` that is named, `processes`, or where neither is asked for, the built image if it is there.

    Raises:
        LaunchError: docker does not have the image that is named.
    """
    if processes:
        return LambdaHome(None, _processes())
    name = image or _BUILT
    made = _made(name) if image or _docker_is_on_this_machine() else None
    if made:
        return LambdaHome(name, f"the image {name}, made {made}, with the web adapter in it")
    if image:
        raise LaunchError(f"Docker has no image {name}, or does not answer: see `docker images` and `make images`.")
    return LambdaHome(None, _processes())


def _docker_is_on_this_machine() -> bool:
    """Elsewhere than on Linux it has a machine of its own, from which our database and upstream are not on loopback."""
    return sys.platform == "linux"


def _made(image: str) -> str | None:
    """When it was built, for the reader: one from before a change does not have that. None if docker has it not."""
    command = ["docker", "image", "inspect", "--format", "{{.Created}}", image]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    day, _, clock = said.stdout.partition("T")
    return None if said.returncode else f"{day} {clock[:5]} UTC"


def _processes() -> str:
    adapter = os.environ.get("HEADWATER_ADAPTER") or built_adapter(hooks=False)
    if adapter == STAND_IN:
        return "processes, behind a stand-in for the web adapter"
    return f"processes, behind the web adapter {_version(Path(adapter))}"


def _version(adapter: Path) -> str:
    """The folder that `make adapter` builds it in is named by it."""
    return adapter.parent.parent.name.removeprefix("adapter-")
