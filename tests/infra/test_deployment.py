"""The commands, with CDK's real command line, against a cloud that is none (fake_cloud.py)."""

import os
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from aws_cdk import App, Stack
from aws_cdk.aws_sqs import Queue

from infra.app import build
from infra.commands import toolkit
from infra.commands.__main__ import loss, main, to_build
from infra.stage import DEV, PROD, Stage
from tests.infra.conftest import EVERYTHING, FIRST, SECOND

_ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.xdist_group("deployment"), pytest.mark.timeout(600)]


@dataclass(frozen=True, kw_only=True)
class Cloud:
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {
            **kept,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, *arguments: str, answer: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.commands", *arguments]
        environment = self.environment | variables
        return subprocess.run(
            command, cwd=_ROOT, env=environment, input=answer, capture_output=True, text=True, check=False
        )

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="eu-west-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def change_secret(self) -> None:
        arn = self.outputs()["headwater-dev-shared"]["SettingsSecretArn"]
        self.client("secretsmanager").put_secret_value(SecretId=arn, SecretString='{"ANTHROPIC_API_KEY": "another"}')

    def outputs(self) -> dict[str, dict[str, str]]:
        """Of each of our stacks that is there."""
        return {
            stack["StackName"]: {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
            for stack in self.client("cloudformation").describe_stacks()["Stacks"]
            if stack["StackName"].startswith("headwater") and stack["StackStatus"] != "DELETE_COMPLETE"
        }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    ends_by = time.monotonic() + 60
    while time.monotonic() < ends_by:
        assert process.poll() is None, "the cloud ended by itself"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the cloud does not listen")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    assert (_ROOT / "infra/node_modules/aws-cdk").is_dir(), "make test-infra installs the command line"
    port = _free_port()
    log = (tmp_path_factory.mktemp("cloud") / "cloud.log").open("wb")
    command = [sys.executable, str(Path(__file__).with_name("fake_cloud.py")), str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_for(port, process)
            # Not its address: moto takes the URL of a template for its own only by this name.
            yield Cloud(endpoint=f"http://localhost:{port}")
        finally:
            process.kill()


def test_homes_are_deployed_one_by_one_changed_compared_and_removed(cloud: Cloud, tmp_path: Path) -> None:
    _succeed(cloud.run("bootstrap"))

    without_docker = cloud.run("deploy", "lambda", "--yes", PATH=_with_failing_docker(tmp_path))
    assert without_docker.returncode == 2
    assert without_docker.stderr.splitlines()[-1].startswith("docker login --username AWS --password-stdin ")
    assert "ended with status 125." in without_docker.stderr
    assert "Traceback" not in without_docker.stderr

    _succeed(cloud.run("deploy", "lambda", "--image", FIRST, "--yes"))
    assert set(cloud.outputs()) == {"headwater-dev-shared", "headwater-dev-lambda", "headwater-dev-workflow"}

    _succeed(cloud.run("deploy", "both", "--image", FIRST, "--yes"))
    assert set(cloud.outputs()) == {
        f"headwater-dev-{name}" for name in ("shared", "lambda", "workflow", "fargate", "comparison")
    }

    _succeed(cloud.run("diff"))
    other = cloud.run("diff", "--image", SECOND)
    assert other.returncode == 1
    assert "Number of stacks with differences: 3" in other.stdout + other.stderr

    cloud.change_secret()
    _succeed(cloud.run("deploy", "fargate", "--image", FIRST, "--yes"))
    changed = cloud.run("diff")
    assert "Number of stacks with differences: 2" in changed.stdout + changed.stderr, "the other home"

    _succeed(cloud.run("deploy", "both", "--image", SECOND, "--yes"))
    assert {cloud.outputs()[f"headwater-dev-{home}"]["Image"] for home in ("lambda", "fargate")} == {SECOND}

    _succeed(cloud.run("deploy", "managed-instances", "--image", SECOND, "--yes"))
    _succeed(cloud.run("deploy", "power-tuning", "--yes"))
    extras = {"headwater-dev-managed-instances", "headwater-dev-power-tuning"}
    assert extras < set(cloud.outputs())

    _succeed(cloud.run("destroy", "managed-instances", "--yes"))
    assert "headwater-dev-managed-instances" not in cloud.outputs()
    assert "headwater-dev-lambda" in cloud.outputs()

    _succeed(cloud.run("destroy", "fargate", "--yes"))
    assert set(cloud.outputs()) == {
        f"headwater-dev-{name}" for name in ("shared", "lambda", "workflow", "power-tuning")
    }

    removed = cloud.run("destroy", "both", "--yes")
    _succeed(removed)
    assert "Removes headwater-dev-power-tuning, headwater-dev-workflow, headwater-dev-comparison, " in removed.stdout
    assert not cloud.outputs()


def _with_failing_docker(folder: Path) -> str:
    docker = folder / "docker"
    docker.write_text("#!/bin/sh\nexit 125\n")
    docker.chmod(0o700)
    return f"{folder}:{os.environ['PATH']}"


def _succeed(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stdout + result.stderr


def test_it_says_what_it_will_do_and_does_nothing_without_a_yes(cloud: Cloud) -> None:
    refused = cloud.run("deploy", "lambda", "--image", FIRST, answer="n\n")

    assert refused.returncode == 1
    assert "Deploys headwater-dev-shared, headwater-dev-lambda, headwater-dev-workflow." in refused.stdout
    assert "in all; tokens, requests, traffic, storage and logs come on top" in refused.stdout
    assert not cloud.outputs()


@pytest.mark.parametrize(
    ("what", "image", "buffered_image", "built"),
    [
        ("lambda", None, None, ["Dockerfile", "Dockerfile.lambda"]),
        ("lambda", FIRST, None, ["Dockerfile.lambda"]),
        ("lambda", None, FIRST, ["Dockerfile"]),
        ("both", FIRST, SECOND, []),
        ("fargate", None, None, ["Dockerfile"]),
        ("power-tuning", None, None, []),
    ],
)
def test_what_is_needed_and_not_given_is_built(
    what: str, image: str | None, buffered_image: str | None, built: list[str]
) -> None:
    arguments = Namespace(what=what, image=image, buffered_image=buffered_image)

    assert list(to_build(arguments, EVERYTHING).values()) == built


def test_without_the_buffered_function_there_is_no_image_of_it() -> None:
    assert list(to_build(Namespace(what="both", image=None, buffered_image=None), DEV).values()) == ["Dockerfile"]


@pytest.mark.parametrize(
    ("settings", "stacks", "said"),
    [
        (DEV, ["Lambda"], "Database, secrets and images stay; the logs are gone with it."),
        (PROD, ["Lambda"], "Database, secrets and images stay; the logs stay too."),
        (DEV, ["Comparison", "Fargate", "Lambda", "Shared"], "Database, secrets, images and logs are gone with it."),
        (PROD, ["Fargate"], "AWS will refuse: the load balancer of a stage"),
        (PROD, ["Lambda", "Shared"], "AWS will refuse: the database of a stage"),
    ],
)
def test_what_is_lost_is_said_before(settings: Stage, stacks: list[str], said: str) -> None:
    assert loss(settings, stacks).startswith(said)


def test_what_cannot_be_is_said_in_a_sentence(cloud: Cloud) -> None:
    wrong_stage = cloud.run("deploy", "lambda", "--stage", "nowhere")
    wrong_image = cloud.run("deploy", "lambda", "--image", "latest")

    assert (wrong_stage.returncode, wrong_image.returncode) == (2, 2)
    assert wrong_stage.stderr.splitlines()[-1] == "There is no stage 'nowhere'; infra/stage.py has dev, prod."
    assert "named by its digest" in wrong_image.stderr.splitlines()[-1]


def test_what_aws_refuses_is_said_in_a_sentence() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as aws:
        thread = Thread(target=aws.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        refused = Cloud(endpoint=f"http://127.0.0.1:{aws.server_port}").run("destroy", "both", "--yes")
        aws.shutdown()
        thread.join()

    assert refused.returncode == 2
    assert "(AccessDenied)" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>"
        self.send_response(403)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_broken_rule_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**arguments: Any) -> App:
        app = build(**arguments)
        Queue(Stack(app, "Broken"), "Queue")  # anybody may send to it without TLS
        return app

    monkeypatch.setattr(toolkit, "build", broken)
    monkeypatch.setattr(sys, "argv", ["infra.commands", "synth"])

    assert main() == 2
    assert "The templates of dev cannot be written: ValidationFailed: " in capsys.readouterr().err
