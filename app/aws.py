"""The few things that are asked of AWS, by its SDK: secrets, tokens for the database, another function's work, and the
executions of a state machine.

The SDK is imported with the first of them: it takes longer to import than most requests take. It finds credentials
wherever the home has them, and renews them. All of this blocks: call it in a thread.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from botocore.session import Session

# Until a connection is made with it; AWS knows no longer one.
_TOKEN_LASTS: Final = 900
# Of one try. A caller may be waiting for what is asked.
_TIMEOUT: Final = 5


class AwsError(Exception):
    """It refused, with `code`, or could not be reached. The message has no secrets."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Aws:
    """Made anew for each application: credentials must not outlive a memory snapshot."""

    def __init__(self, region: str | None) -> None:
        self._region = region
        self._clients: dict[tuple[str, str | None], Any] = {}

    @cached_property
    def _session(self) -> "Session":
        import botocore.session

        return botocore.session.get_session()

    def _client(self, service: str, region: str | None) -> Any:
        # A client takes longer to make than to use.
        if (client := self._clients.get((service, region))) is None:
            client = self._clients[service, region] = self._new_client(service, region)
        return client

    def _new_client(self, service: str, region: str | None) -> Any:
        from botocore.config import Config

        config = Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"total_max_attempts": 3})
        return self._session.create_client(service, region_name=region, config=config)

    def secret(self, arn: str) -> dict[str, Any]:
        """The JSON object that a secret of Secrets Manager holds now.

        Raises:
            AwsError: it cannot be read, or holds something else.
        """
        with _errors_as_ours(f"the secret {arn} cannot be read"):
            client = self._client("secretsmanager", _region_of(arn) or self._region)
            value = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
            if not isinstance(value, dict):
                raise ValueError("not an object")
            return value

    def database_token(self, host: str, port: int, user: str) -> str:
        """A password for RDS or its proxy, to be used within 15 minutes: a signed request that is never sent.

        Raises:
            AwsError: there are no credentials.
        """
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        with _errors_as_ours("no token for the database can be signed"):
            request = AWSRequest("GET", f"https://{host}:{port}/", params={"Action": "connect", "DBUser": user})
            credentials = self._session.get_credentials()
            SigV4QueryAuth(credentials, "rds-db", self._region, expires=_TOKEN_LASTS).add_auth(request)
        return str(request.url).removeprefix("https://")

    def invoke_later(self, function: str, event: dict[str, Any]) -> None:
        """Have a Lambda function work on `event`; returns when that is queued.

        Raises:
            AwsError: it is not known to be queued.
        """
        with _errors_as_ours(f"the function {function} cannot be invoked"):
            client = self._client("lambda", _region_of(function) or self._region)
            client.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event))

    def start_execution(self, machine: str, name: str, input: dict[str, Any]) -> None:
        """Have the state machine of this ARN begin an execution.

        Raises:
            AwsError: it is not known to have begun. Its code says so if there is one of this name, or no machine.
        """
        with _errors_as_ours(f"the execution {name} cannot be started"):
            self._states(machine).start_execution(stateMachineArn=machine, name=name, input=json.dumps(input))

    def execution_status(self, execution: str) -> str:
        """`RUNNING`, or how the execution of this ARN has ended.

        Raises:
            AwsError: nobody knows, or there is none.
        """
        with _errors_as_ours(f"the execution {execution} cannot be described"):
            return str(self._states(execution).describe_execution(executionArn=execution)["status"])

    def send_task_success(self, machine: str, token: str) -> None:
        """Let the execution go on that waits for an answer by `token`.

        Raises:
            AwsError: it is not known to go on.
        """
        with _errors_as_ours("a task cannot be answered"):
            self._states(machine).send_task_success(taskToken=token, output="{}")

    def send_task_failure(self, machine: str, token: str, error: str) -> None:
        """Let it go on with an error of this name.

        Raises:
            AwsError: it is not known to go on.
        """
        with _errors_as_ours("a task cannot be answered"):
            self._states(machine).send_task_failure(taskToken=token, error=error)

    def send_task_heartbeat(self, machine: str, token: str) -> None:
        """Say that the answer is still to come.

        Raises:
            AwsError: it is not known to wait on.
        """
        with _errors_as_ours("the heartbeat of a task cannot be sent"):
            self._states(machine).send_task_heartbeat(taskToken=token)

    def _states(self, arn: str) -> Any:
        return self._client("stepfunctions", _region_of(arn) or self._region)


@contextmanager
def _errors_as_ours(what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        raise AwsError(f"{what}: {code}", code) from exc
    except (BotoCoreError, KeyError, ValueError) as exc:
        raise AwsError(f"{what}: {type(exc).__name__}") from None  # what is no JSON may be a secret all the same


def _region_of(arn: str) -> str | None:
    """That of an ARN; a mere name lies in the region of the process."""
    return arn.split(":")[3] if arn.startswith("arn:") else None
