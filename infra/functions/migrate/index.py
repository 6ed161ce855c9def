"""Runs the migrations of a version that is about to be deployed, as a custom resource of CloudFormation.

A failure fails the deployment before any traffic has moved. On the way back of a failed deployment CloudFormation asks
again, with the version before: its migrations are a part of those that ran, and its code does not know the newer ones.
So only what is newer than what was there runs.
"""

import json
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

_POLL = 5
_IDENTITY = "migrations"


def handler(event: dict[str, Any], context: Any) -> None:
    """In `ResourceProperties`: `Version`, an ARN; where a task runs them also `Task`, what RunTask is told."""
    try:
        if is_due(event):
            _run(event["ResourceProperties"], seconds_left=context.get_remaining_time_in_millis() / 1000 - 30)
    except Exception as exc:
        _answer(event, "FAILED", f"The migrations did not run: {exc}"[:1000])
        raise
    _answer(event, "SUCCESS", "")


def is_due(event: dict[str, Any]) -> bool:
    if event["RequestType"] == "Delete":
        return False
    before = event.get("OldResourceProperties", {}).get("Version")
    if before is None:
        return True
    name, number = _split(event["ResourceProperties"]["Version"])
    name_before, number_before = _split(before)
    return name != name_before or number > number_before


def _split(version: str) -> tuple[str, int]:
    """The ARN of a version or of a task definition: what it is of, and its number, which only grows."""
    name, _, number = version.rpartition(":")
    return name, int(number)


def _run(properties: dict[str, Any], *, seconds_left: float) -> None:
    if "Task" in properties:
        _run_task(json.loads(properties["Task"]), seconds_left)
    else:
        _invoke(properties["Version"], seconds_left)


def _invoke(version: str, seconds_left: float) -> None:
    # Twice would do no harm, but the second would wait for the first one's lock and be counted as another failure.
    client = boto3.client("lambda", config=Config(read_timeout=seconds_left, retries={"total_max_attempts": 1}))
    client.get_waiter("published_version_active").wait(FunctionName=version)
    answer = client.invoke(FunctionName=version, Payload=json.dumps({"headwater": "migrate"}))
    if "FunctionError" in answer:
        raise RuntimeError(f"{version} failed; its log says why")


def _run_task(arguments: dict[str, Any], seconds_left: float) -> None:
    ecs = boto3.client("ecs")
    started = ecs.run_task(**arguments)
    if not started["tasks"]:
        raise RuntimeError(f"the task did not start: {started['failures']}")
    ends_by = time.monotonic() + seconds_left
    (container,) = (each["name"] for each in arguments["overrides"]["containerOverrides"])
    while time.monotonic() < ends_by:
        found = ecs.describe_tasks(cluster=arguments["cluster"], tasks=[started["tasks"][0]["taskArn"]])["tasks"]
        # ECS may not know yet what it has just started.
        if found and found[0]["lastStatus"] == "STOPPED":
            _check(found[0], container)
            return
        time.sleep(_POLL)
    raise TimeoutError("the task is still running")


def _check(task: dict[str, Any], name: str) -> None:
    # AWS may have put containers of its own beside it, and stops those without an exit code.
    code = next((each.get("exitCode") for each in task["containers"] if each["name"] == name), None)
    if code != 0:
        raise RuntimeError(f"the task stopped with {code}: {task.get('stoppedReason', '')}; its log says why")


def _answer(event: dict[str, Any], status: str, reason: str) -> None:
    body = {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": _IDENTITY,
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    url = event["ResponseURL"]
    assert urlsplit(url).scheme in ("http", "https")
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass
