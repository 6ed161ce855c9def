"""The engine that orders batches: a state machine of AWS Step Functions. It decides nothing."""

import asyncio
import logging
from typing import Final
from uuid import UUID

from app.aws import Aws, AwsError
from app.domain.errors import NotConfigured

_log = logging.getLogger(__name__)

# Step Functions' answers to a token that nobody waits by any more (API reference, SendTaskSuccess).
_NOBODY_WAITS: Final = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")


class Workflow:
    """`machine` is its ARN; the execution of a batch's round is called by both."""

    def __init__(self, aws: Aws, machine: str) -> None:
        self._aws = aws
        self._machine = machine

    async def start(self, batch: UUID, round: int) -> bool:
        """Have it work on a batch; a second time changes nothing. False if it could not be told.

        Raises:
            NotConfigured: there is no such state machine.
        """
        try:
            await asyncio.to_thread(
                self._aws.start_execution, self._machine, _name(batch, round), {"batch_id": str(batch), "round": round}
            )
        except AwsError as exc:
            if exc.code == "StateMachineDoesNotExist":
                raise no_workflow() from None
            if exc.code != "ExecutionAlreadyExists":
                _log.warning("%s", exc)
                return False
        return True

    async def answer(self, token: str, error: str | None = None) -> bool:
        """Let the execution that waits by `token` go on, with an error of that name if there is one.

        False if it could not be told. One that waits no more needs no answer.
        """
        try:
            if error is None:
                await asyncio.to_thread(self._aws.send_task_success, self._machine, token)
            else:
                await asyncio.to_thread(self._aws.send_task_failure, self._machine, token, error)
        except AwsError as exc:
            _log.warning("%s", exc)
            return exc.code in _NOBODY_WAITS
        return True

    async def say_that_it_lasts(self, token: str) -> bool:
        """Keep the execution waiting; False if none waits by this token any more."""
        try:
            await asyncio.to_thread(self._aws.send_task_heartbeat, self._machine, token)
        except AwsError as exc:
            _log.warning("%s", exc)
            return exc.code not in _NOBODY_WAITS
        return True

    async def is_over(self, batch: UUID, round: int) -> bool:
        """Whether the execution has ended, or is not known; not if nobody can say."""
        execution = self._machine.replace(":stateMachine:", ":execution:") + f":{_name(batch, round)}"
        try:
            return await asyncio.to_thread(self._aws.execution_status, execution) != "RUNNING"
        except AwsError as exc:
            _log.warning("%s", exc)
            return exc.code == "ExecutionDoesNotExist"


def _name(batch: UUID, round: int) -> str:
    return f"{batch}-{round}"


def no_workflow() -> NotConfigured:
    return NotConfigured("This installation has no engine for batches: it cannot start any.", code="no_workflow")
