"""What runs in an environment: processes of this machine that can be frozen and ended."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import IO, Any, Final, Protocol

from local.aws_lambda.function import KEY_VARIABLES, Function
from local.processes import ROOT, die_with_parent

# Between SIGTERM and SIGKILL; without an extension there is only the latter.
_GRACE: Final = 2.0


class SandboxError(Exception):
    """It could not be started, frozen or thawed; the text says why."""


class Sandbox(Protocol):
    async def start(self, environment: dict[str, str]) -> None:
        """Start everything, with these variables.

        Raises:
            OSError, SandboxError: it cannot be.
        """

    async def freeze(self) -> None: ...

    async def thaw(self) -> None: ...

    def ends(self) -> Iterable[Coroutine[Any, Any, str]]:
        """One for each process: it returns when that has ended, with how it did."""

    async def stop(self, *, gently: bool) -> None:
        """End all; gently means SIGTERM and 2 s."""


MakeSandbox = Callable[[Function], Sandbox]


async def how_it_ends(process: Process) -> str:
    code = await process.wait()
    return f"exit status {code}" if code >= 0 else f"signal: {signal.Signals(-code).name}"


class Commands:
    """Commands beside each other, each with all that it starts: an application and, before it, its extensions.

    They find the variables of this process too, but for its credentials.
    """

    def __init__(self, commands: Sequence[Sequence[str]], output: IO[bytes] | None = None) -> None:
        self._commands = commands
        self._output = output
        self._processes: list[Process] = []

    async def start(self, environment: dict[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in KEY_VARIABLES}
        for command in self._commands:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=inherited | environment,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
            self._processes.append(process)

    async def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def ends(self) -> Iterable[Coroutine[Any, Any, str]]:
        return map(how_it_ends, self._processes)

    async def stop(self, *, gently: bool) -> None:
        if gently:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await self._all_ended()
        self._signal(signal.SIGKILL)
        await self._all_ended()

    async def _all_ended(self) -> None:
        for process in self._processes:
            await process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """To the process and to all that it started."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
