"""An execution environment, from its start to its end."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from app.domain.ids import uuid7
from local.aws_lambda.account import Account
from local.aws_lambda.exchange import Exchange
from local.aws_lambda.function import REGION, Function
from local.aws_lambda.invocation import Failure, Invocation
from local.aws_lambda.ports import port_for_application
from local.aws_lambda.runtime_api import CREDENTIALS_PATH, RuntimeApi
from local.aws_lambda.sandbox import Sandbox, SandboxError

# Of a start that a snapshot is taken of, and of the hooks behind a restore.
_SNAPSHOT_INIT: Final = 130.0
_RESTORE: Final = 10.0
_ENDED: Final = Failure("Sandbox.Ended", "The environment was ended.")


class Environment:
    """Frozen between its invocations. `taken` is how many of them are meant for it."""

    def __init__(self, function: Function, sandbox: Sandbox, tasks: asyncio.TaskGroup, account: Account) -> None:
        self.taken = 0
        self._function = function
        self._sandbox = sandbox
        self._tasks = tasks
        self._account = account
        self._exchange = Exchange()
        self._api = RuntimeApi(function, self._exchange)
        self._watching: list[asyncio.Task[None]] = []
        self._preparing = asyncio.Lock()
        self._ending = asyncio.Lock()
        self._is_started = False
        self._is_restored = not function.snapstart
        self._is_frozen = False
        self._has_ended = False

    @property
    def is_usable(self) -> bool:
        return self._exchange.failure is None

    @property
    def has_room(self) -> bool:
        return self.is_usable and self.taken < self._function.concurrency

    async def start(self) -> None:
        """Return when it waits for its first invocation, or is ready for its snapshot.

        Raises:
            Failure: it could not be started, or not in time.
        """
        function = self._function
        limit = max(_SNAPSHOT_INIT, function.timeout) if function.snapstart else function.init_timeout
        begun = time.perf_counter()
        await self._api.start()
        await self._start_sandbox()
        late = Failure("Sandbox.Timedout", f"Init timed out after {limit:.2f} seconds")
        await self._within(limit, self._exchange.is_initialised, late)
        self._account.inits.append(_milliseconds_since(begun))
        self._is_started = True

    async def _start_sandbox(self) -> None:
        try:
            await self._sandbox.start(self._variables())
        except (OSError, SandboxError) as error:
            failure = Failure("Sandbox.StartError", str(error))
            self._exchange.fail(failure)
            raise failure from error
        self._watching = [self._tasks.create_task(self._watch(end)) for end in self._sandbox.ends()]

    async def _restore(self) -> None:
        """Go on behind the snapshot."""
        begun = time.perf_counter()
        await self._thaw()
        self._exchange.restore()
        late = Failure("SnapStartTimeoutException", f"Restore timed out after {_RESTORE:.0f} seconds")
        await self._within(_RESTORE, self._exchange.is_idle, late)
        self._account.restores.append(_milliseconds_since(begun))
        self._is_restored = True

    async def _within(self, limit: float, condition: Callable[[], bool], late: Failure) -> None:
        try:
            async with asyncio.timeout(limit):
                await self._exchange.until(condition)
        except TimeoutError:
            self._exchange.fail(late)
            raise late from None

    async def invoke(self, invocation: Invocation) -> None:
        """Have it answered, whatever comes of it, and return when there is nothing more to do for it."""
        try:
            await self._prepare()
            await self._thaw()
            begun = time.perf_counter()
            await self._answer(invocation)
            self._account.invocations.append(_milliseconds_since(begun))
        except Failure as failure:
            invocation.answer.end(failure)
        finally:
            invocation.answer.end(_ENDED)
        await self.freeze()

    async def _prepare(self) -> None:
        """Start and restore it, if that has not been done.

        Raises:
            Failure: it cannot be used.
        """
        async with self._preparing:
            if self._exchange.failure is not None:
                raise self._exchange.failure
            if not self._is_started:
                await self.start()
            if not self._is_restored:
                await self._restore()

    async def _answer(self, invocation: Invocation) -> None:
        limit = self._function.timeout
        invocation.deadline = time.time() + limit
        self._exchange.deliver(invocation)
        try:
            late = Failure("Sandbox.Timedout", f"{invocation.id} Task timed out after {limit:.2f} seconds")
            await self._within(limit, lambda: self._is_done(invocation), late)
        except Failure as failure:
            invocation.answer.end(failure)
        finally:
            self._exchange.forget(invocation)

    def _is_done(self, invocation: Invocation) -> bool:
        """Where one runtime has one invocation at a time, what it does behind the response still belongs to it."""
        return invocation.answer.ended and (self._function.concurrency > 1 or self._exchange.is_idle())

    async def failed(self) -> None:
        """Return when it is of no use any more, if that happens."""
        await self._exchange.failed()

    async def end(self, *, gently: bool) -> None:
        """Tell extensions and processes, and kill what has not ended by then. It ends once, whoever asks for it."""
        async with self._ending:
            if not self._has_ended:
                self._has_ended = True
                if not gently:
                    self._exchange.fail(_ENDED)  # before a process that dies last can still say something
                await self._end_sandbox(gently=gently)
                self._exchange.fail(_ENDED)
                await self._api.close()

    async def _end_sandbox(self, *, gently: bool) -> None:
        for task in self._watching:
            task.cancel()
        await self._thaw()
        self._exchange.tell_extensions("SHUTDOWN", shutdownReason="spindown")
        # Only an extension buys the function a warning.
        await self._sandbox.stop(gently=gently and bool(self._exchange.extensions))

    async def _watch(self, end: Coroutine[Any, Any, str]) -> None:
        self._exchange.fail(Failure("Runtime.ExitError", f"Runtime exited with error: {await end}"))

    async def freeze(self) -> None:
        """Stop it until it is needed, if that is what its function does."""
        if self._function.freezes and self.is_usable and not self._is_frozen:
            self._is_frozen = True
            await self._try(self._sandbox.freeze())

    async def _thaw(self) -> None:
        if self._is_frozen:
            self._is_frozen = False
            await self._try(self._sandbox.thaw())

    async def _try(self, change: Coroutine[Any, Any, None]) -> None:
        """What is to be frozen may have ended by itself in that moment."""
        try:
            await change
        except SandboxError as error:
            self._exchange.fail(Failure("Sandbox.Failure", str(error)))

    def _variables(self) -> dict[str, str]:
        function = self._function
        port = str(port_for_application())
        reserved = {
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": function.initialization,
            "AWS_LWA_PORT": port,
            function.port: port,
            "TZ": ":UTC",
        }
        if function.concurrency > 1:
            reserved["AWS_LAMBDA_MAX_CONCURRENCY"] = str(function.concurrency)
        region = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
        return {**region, **function.environment, **reserved, **self._identity()}

    def _identity(self) -> dict[str, str]:
        """Who it is for AWS, and where its log goes: a snapshot can hold neither."""
        if self._function.snapstart:
            return {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{self._api.address}{CREDENTIALS_PATH}",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._api.token,
            }
        stream = f"{time.strftime('%Y/%m/%d')}/[{self._function.version}]{uuid7().hex}"
        return {
            **self._function.credentials,
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self._function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        }


def _milliseconds_since(begun: float) -> float:
    return 1000 * (time.perf_counter() - begun)
