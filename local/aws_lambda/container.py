"""An image in an environment, by the docker command."""

import asyncio
import io
import os
import subprocess
import tarfile
from asyncio.subprocess import Process
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import IO, Any, Final

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from app.domain.ids import uuid7
from local.aws_lambda.function import Function
from local.aws_lambda.sandbox import SandboxError, how_it_ends

_EXTENSIONS: Final = "/opt/extensions"
# As on Lambda: a user of no rights, whatever the image says, and one place to write to.
_USER: Final = "993:990"
# Of each container: the pid of the local Lambda whose it is.
MADE_BY: Final = "headwater.local-lambda"
# A virtual CPU's worth of memory, in MB.
MEMORY_PER_CPU: Final = 1769


class DockerError(SandboxError):
    """What docker said."""


class Container:
    """As Lambda runs an image: what lies in /opt/extensions beside its command, on a file system that is read only.

    It is on this machine's own network, so that it finds the Runtime API, and whatever else runs here.
    """

    def __init__(
        self, image: str, function: Function, output: IO[bytes] | None = None, *, limit_cpu: bool = False
    ) -> None:
        self._image = image
        self._function = function
        self._limit_cpu = limit_cpu
        self._name = f"{function.name}-{uuid7().hex[-12:]}"
        self._output = output
        self._making: asyncio.Task[bytes] | None = None
        self._following: Process | None = None
        self._processes: list[Process] = []

    async def start(self, environment: dict[str, str]) -> None:
        memory = f"{self._function.memory}m"
        cpus = [f"--cpus={self._function.memory / MEMORY_PER_CPU:.3f}"] if self._limit_cpu else []
        # Their values are read from our own environment: a command line is for all to see.
        names = [part for name in environment for part in ("--env", name)]
        making = _docker(
            "create", "--name", self._name, "--network", "host", "--read-only", "--tmpfs", "/tmp:size=512m",  # noqa: S108
            "--user", _USER, "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--label", f"{MADE_BY}={os.getpid()}",
            "--memory", memory, "--memory-swap", memory, *cpus, *names, self._image,
            environment=environment,
        )  # fmt: skip
        # It goes on if the start is given up, and what it made is then removed.
        self._making = asyncio.create_task(making)  # noqa: TID251 - held here and awaited by stop
        await asyncio.shield(self._making)
        extensions = await self._extensions()
        await _docker("start", self._name)
        self._following = await _started("logs", "--follow", self._name, output=self._output)
        self._processes = [await _started("exec", self._name, each, output=self._output) for each in extensions]

    async def _extensions(self) -> list[str]:
        try:
            archive = await _docker("cp", f"{self._name}:{_EXTENSIONS}", "-")
        except DockerError:  # there is no such folder
            return []
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            return [f"/opt/{file.name}" for file in files if file.isfile()]

    # Refused while something is just being started in it.
    @retry(retry=retry_if_exception_type(DockerError), stop=stop_after_attempt(10), wait=wait_fixed(0.1), reraise=True)
    async def freeze(self) -> None:
        await _docker("pause", self._name)

    async def thaw(self) -> None:
        await _docker("unpause", self._name)

    def ends(self) -> Iterable[Coroutine[Any, Any, str]]:
        return [self._end(), *map(how_it_ends, self._processes)]

    async def _end(self) -> str:
        return f"exit status {(await _docker('wait', self._name)).decode().strip()}"

    async def stop(self, *, gently: bool) -> None:
        """Also one that was never made, for want of docker perhaps, or has ended by itself."""
        if self._making is not None:
            await asyncio.wait([self._making])
        if gently:
            await _try("stop", "--time", "2", self._name)
        await _try("rm", "--force", self._name)
        for process in (self._following, *self._processes):
            if process is not None:
                await process.wait()


def remove_containers(pid: int) -> None:
    """What the local Lambda of this pid left, which has ended: there is nothing if it could end in its own way."""
    mine = ["--all", "--quiet", "--filter", f"label={MADE_BY}={pid}"]
    left = subprocess.run(["docker", "ps", *mine], capture_output=True, text=True, check=False).stdout.split()  # noqa: S607
    if left:
        subprocess.run(["docker", "rm", "--force", *left], capture_output=True, check=False)  # noqa: S607


async def _try(*arguments: str) -> None:
    with suppress(DockerError, FileNotFoundError):
        await _docker(*arguments)


async def _docker(*arguments: str, environment: Mapping[str, str] | None = None) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise DockerError(errors.decode(errors="replace").strip())
    return output


async def _started(*arguments: str, output: IO[bytes] | None) -> Process:
    """A docker command that lasts as long as what it shows; Ctrl-C is not for it."""
    return await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
