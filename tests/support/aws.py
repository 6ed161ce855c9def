"""The services of AWS that Headwater calls, over HTTP: secrets, Lambda's Invoke, Step Functions, credentials."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

REGION: Final = "eu-west-1"
_TOKEN: Final = "the-container's-token"
MACHINE: Final = f"arn:aws:states:{REGION}:123456789012:stateMachine:headwater-batches"


def secret_arn(name: str) -> str:
    return f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{name}-AbCdEf"


class Aws:
    """`secrets` are JSON objects by their ARNs. `invoked` has the payloads of Lambda's Invoke, oldest first.

    `executions` are the statuses of MACHINE's executions by their names, and `answered` has what its tasks were told:
    the token, and `success`, `heartbeat` or the error. It knows the tokens in `waiting`.

    `calls` counts the calls of each operation. Those named in `refused` are answered with a 403. With `delivered`, an
    Invoke is queued, and its caller told otherwise once that is set.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.secrets: dict[str, Any] = {}
        self.invoked: list[Any] = []
        self.machines = {MACHINE}
        self.executions: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.answered: list[tuple[str, str]] = []
        self.calls: dict[str, int] = {}
        self.refused: set[str] = set()
        self.delivered: threading.Event | None = None
        self.key_id = f"ASIA{uuid.uuid4().hex[:16].upper()}"  # noqa: TID251 - no id of ours

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it, with credentials as containers and restored snapshots get them."""
        return {
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": _TOKEN,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def answer(self, operation: str, body: bytes) -> tuple[int, Any]:
        self.calls[operation] = self.calls.get(operation, 0) + 1
        if operation in self.refused:
            return 403, {"__type": "AccessDeniedException", "message": "no"}
        if operation == "GetSecretValue":
            arn = json.loads(body)["SecretId"]
            return 200, {"ARN": arn, "Name": arn, "VersionId": "1" * 32, "SecretString": json.dumps(self.secrets[arn])}
        if operation == "Invoke":
            self.invoked.append(json.loads(body))
            if self.delivered is not None:
                self.delivered.wait(20)
                return 500, {"__type": "ServiceException"}
            return 202, None
        if operation in _OF_STATES:
            return _OF_STATES[operation](self, json.loads(body))
        return 200, {
            "AccessKeyId": self.key_id,
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": "2099-01-01T00:00:00Z",
        }


def _start(aws: Aws, asked: dict[str, Any]) -> tuple[int, Any]:
    if asked["stateMachineArn"] not in aws.machines:
        return 400, {"__type": "StateMachineDoesNotExist"}
    if asked["name"] in aws.executions:
        return 400, {"__type": "ExecutionAlreadyExists"}
    aws.executions[asked["name"]] = "RUNNING"
    arn = asked["stateMachineArn"].replace("stateMachine", "execution")
    return 200, {"executionArn": f"{arn}:{asked['name']}", "startDate": 0}


def _describe(aws: Aws, asked: dict[str, Any]) -> tuple[int, Any]:
    status = aws.executions.get(asked["executionArn"].rpartition(":")[2])
    if status is None:
        return 400, {"__type": "ExecutionDoesNotExist"}
    return 200, {"executionArn": asked["executionArn"], "stateMachineArn": MACHINE, "startDate": 0, "status": status}


def _answer(aws: Aws, asked: dict[str, Any], told: str) -> tuple[int, Any]:
    if asked["taskToken"] not in aws.waiting:
        return 400, {"__type": "TaskTimedOut"}
    aws.answered.append((asked["taskToken"], told))
    return 200, {}


_OF_STATES: Final[dict[str, Callable[[Aws, dict[str, Any]], tuple[int, Any]]]] = {
    "StartExecution": _start,
    "DescribeExecution": _describe,
    "SendTaskSuccess": lambda aws, asked: _answer(aws, asked, "success"),
    "SendTaskFailure": lambda aws, asked: _answer(aws, asked, asked["error"]),
    "SendTaskHeartbeat": lambda aws, asked: _answer(aws, asked, "heartbeat"),
}


@contextmanager
def running_aws() -> Iterator[Aws]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers["authorization"] != _TOKEN:
                self._send(401, {})
            else:
                self._send(*aws.answer("credentials", b""))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if f"Credential={aws.key_id}/" not in self.headers["authorization"]:
                self._send(403, {"__type": "UnrecognizedClientException"})
                return
            target = self.headers.get("x-amz-target", ".Invoke")
            self._send(*aws.answer(target.rpartition(".")[2], body))

        def _send(self, status: int, value: Any) -> None:
            body = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    aws = Aws(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
