"""moto's interpreter, with what it lacks of Step Functions for the definition of batches."""

import sys
from typing import Final

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from moto.core.config import default_user_config
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (
    StateTaskServiceLambda,
)
from moto.stepfunctions.parser.asl.eval.callback.callback import (
    CallbackEndpoint,
    HeartbeatEndpoint,
    HeartbeatTimeoutError,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from local.aws_lambda.function import ACCOUNT, REGION
from local.workflow.machine import Machine

# A function has 900 s.
_READ_TIMEOUT: Final = 960
_AT_ONCE: Final = 1000
# Each item of a worker is handled within the frame of the one before it.
_DEEPEST: Final = 200_000


def interpret(machine: Machine, invoke_url: str) -> None:
    """Make `machine` in this process. Its tasks invoke functions by the Invoke API at `invoke_url`."""
    default_user_config["stepfunctions"]["execute_state_machine"] = True
    sys.setrecursionlimit(_DEEPEST)
    client = _lambda_client(invoke_url)
    # Its own client leads to moto's Lambda, which only repeats what it is told.
    lambda_eval_utils.boto_client_for = lambda **_asked: client  # type: ignore[attr-defined]
    CallbackEndpoint.setup_heartbeat_endpoint = _heartbeat_endpoint  # type: ignore[method-assign]
    StateTaskServiceLambda._from_error = _from_error  # type: ignore[method-assign]
    role = f"arn:aws:iam::{ACCOUNT}:role/{machine.name}"
    stepfunctions_parser_backends[ACCOUNT][REGION].create_state_machine(machine.name, machine.definition, role)


def _lambda_client(invoke_url: str) -> BaseClient:
    return boto3.client(
        "lambda",
        region_name=REGION,
        endpoint_url=invoke_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - it is not looked at
        config=Config(retries={"total_max_attempts": 1}, read_timeout=_READ_TIMEOUT, max_pool_connections=_AT_ONCE),
    )


_set_up_heartbeat_endpoint = CallbackEndpoint.setup_heartbeat_endpoint


def _heartbeat_endpoint(self: CallbackEndpoint, heartbeat_seconds: int) -> HeartbeatEndpoint:
    """A token may be answered by the very invocation that brings it, before anybody waits for heartbeats."""
    endpoint = _set_up_heartbeat_endpoint(self, heartbeat_seconds)
    if self.get_outcome() is not None:
        endpoint.notify()  # type: ignore[no-untyped-call]
    return endpoint


_from_error_of_task = StateTaskServiceLambda._from_error


def _from_error(self: StateTaskServiceLambda, env: Environment, ex: Exception) -> FailureEvent:
    """A lost heartbeat has a name of its own; moto has the name and does not use it."""
    failure = _from_error_of_task(self, env, ex)
    if not isinstance(ex, HeartbeatTimeoutError):
        return failure
    lost = StatesErrorName(StatesErrorNameType.StatesHeartbeatTimeout)
    return FailureEvent(env, lost, failure.event_type, failure.event_details)
