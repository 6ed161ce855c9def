"""The function that runs migrations when a home is deployed, against an HTTP server that plays the AWS it calls."""

import importlib.util
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

_VERSION = "arn:aws:lambda:eu-west-1:123456789012:function:headwater-dev:"
_TASK = "arn:aws:ecs:eu-west-1:123456789012:task-definition/headwater-dev:"


class Aws(ThreadingHTTPServer):
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.function_error: str | None = None
        self.exit_code = 0
        # None: not known yet.
        self.statuses: list[str | None] = [None, "PENDING", "RUNNING", "STOPPED"]
        self.invoked: list[Any] = []
        self.tasks: list[Any] = []
        self.answers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Aws

    def do_GET(self) -> None:
        self._reply({"State": "Active", "LastUpdateStatus": "Successful"})

    def do_PUT(self) -> None:
        self.server.answers.append(json.loads(self._body()))
        self._reply({})

    def do_POST(self) -> None:
        body = json.loads(self._body())
        match self.headers.get("x-amz-target", "").rpartition(".")[2]:
            case "RunTask":
                self.server.tasks.append(body)
                self._reply({"tasks": [{"taskArn": "arn:task"}], "failures": []})
            case "DescribeTasks":
                self._reply({"tasks": self._tasks()})
            case _:
                self.server.invoked.append((self.path, body))
                error = self.server.function_error
                self._reply({}, {"x-amz-function-error": error} if error else {})

    def _tasks(self) -> list[dict[str, Any]]:
        status = self.server.statuses.pop(0)
        containers = [{"name": "sidecar"}, {"name": "app", "exitCode": self.server.exit_code}]
        task = {"lastStatus": status, "containers": containers, "stoppedReason": "it ended"}
        return [task] if status else []

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def _reply(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with Aws() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[2] / "infra/functions/migrate/index.py"
    spec = importlib.util.spec_from_file_location("migrate_function", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_POLL", 0.01)
    return module


def _event(aws: Aws, request: str, version: str, *, before: str | None = None, **properties: str) -> dict[str, Any]:
    event = {
        "RequestType": request,
        "ResponseURL": f"{aws.url}/answer",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Run",
        "ResourceProperties": {"Version": version, **properties},
    }
    return event | ({"OldResourceProperties": {"Version": before}} if before else {})


def _task(revision: int) -> str:
    overrides = {"containerOverrides": [{"name": "app", "command": ["python", "-m", "app.db.migrate"]}]}
    return json.dumps({"cluster": "headwater-dev", "taskDefinition": f"{_TASK}{revision}", "overrides": overrides})


def test_the_version_that_is_being_deployed_migrates(aws: Aws, function: ModuleType) -> None:
    function.handler(_event(aws, "Create", f"{_VERSION}1"), _Context())

    ((path, payload),) = aws.invoked
    assert payload == {"headwater": "migrate"}
    assert "headwater-dev%3A1/invocations" in path
    assert [each["Status"] for each in aws.answers] == ["SUCCESS"]


def test_a_failure_fails_the_deployment(aws: Aws, function: ModuleType) -> None:
    aws.function_error = "Unhandled"

    with pytest.raises(RuntimeError, match="its log says why"):
        function.handler(_event(aws, "Update", f"{_VERSION}2", before=f"{_VERSION}1"), _Context())

    (answer,) = aws.answers
    assert answer["Status"] == "FAILED"
    assert "its log says why" in answer["Reason"]


def test_on_the_way_back_nothing_is_migrated(aws: Aws, function: ModuleType) -> None:
    """The old version does not know the newer migrations, and would fail the way back as well."""
    function.handler(_event(aws, "Update", f"{_VERSION}9", before=f"{_VERSION}10"), _Context())

    assert not aws.invoked
    assert [each["Status"] for each in aws.answers] == ["SUCCESS"]


def test_numbers_are_compared_as_numbers_and_only_of_one_function(aws: Aws, function: ModuleType) -> None:
    function.handler(_event(aws, "Update", f"{_VERSION}10", before=f"{_VERSION}9"), _Context())
    function.handler(_event(aws, "Update", "arn:of:another:1", before=f"{_VERSION}10"), _Context())

    assert len(aws.invoked) == 2


def test_removing_a_home_migrates_nothing(aws: Aws, function: ModuleType) -> None:
    function.handler(_event(aws, "Delete", f"{_VERSION}1"), _Context())

    assert not aws.invoked
    assert [each["Status"] for each in aws.answers] == ["SUCCESS"]


def test_a_task_migrates_and_is_waited_for_whatever_runs_beside_it(aws: Aws, function: ModuleType) -> None:
    function.handler(_event(aws, "Create", f"{_TASK}3", Task=_task(3)), _Context())

    assert [each["taskDefinition"] for each in aws.tasks] == [f"{_TASK}3"]
    assert not aws.statuses, "it was waited for until it had stopped"
    assert [each["Status"] for each in aws.answers] == ["SUCCESS"]


def test_a_task_that_fails_fails_the_deployment(aws: Aws, function: ModuleType) -> None:
    aws.exit_code = 1
    with pytest.raises(RuntimeError, match="it ended"):
        function.handler(_event(aws, "Create", f"{_TASK}3", Task=_task(3)), _Context())

    assert [each["Status"] for each in aws.answers] == ["FAILED"]
