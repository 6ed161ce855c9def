"""Runs AWS Lambda Power Tuning on the deployed function, with a stream as its payload."""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3

from infra.commands.deployed import output
from infra.power_tuning import POWERS
from infra.stage import Stage

_REQUESTS = 10
_POLL = 5
# The key is in the payload: it is good for this long and for so much, and is revoked at the end.
_KEY_LIVES = timedelta(hours=2)
_KEY_SPENDS = "2.00"


def tune(settings: Stage, *, model: str, result: Path) -> None:
    """Measure each size of memory, and write what the state machine said to `result`.

    Raises:
        ValueError: the stacks are not there, or the state machine failed.
    """
    machine = _needed(f"{settings.prefix}-power-tuning", "StateMachineArn")
    function = _needed(f"{settings.prefix}-power-tuning", "FunctionArn")
    url = _needed(f"{settings.prefix}-lambda", "Url")
    with _key(url, _admin_key(settings)) as key:
        payload = _streamed(key, model)
        print(f"Measures {', '.join(map(str, POWERS))} MB with {_REQUESTS} streams each, from {model}.")
        answer = _run(machine, _input(function, payload))
    result.write_text(json.dumps(answer, indent=2) + "\n")


def _input(function: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "lambdaARN": function,
        "powerValues": list(POWERS),
        "num": _REQUESTS,
        "payload": payload,
        "parallelInvocation": False,
        "strategy": "balanced",
        "includeOutputResults": True,
        "disablePayloadLogs": True,
    }


def _streamed(key: str, model: str) -> dict[str, Any]:
    """What the REST API would invoke the function with for a streamed completion."""
    path = "/v1/completions"
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "host": "tuning"}
    context = {"httpMethod": "POST", "path": path, "stage": "api", "requestId": "tuning", "identity": {}}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": context,
        "body": json.dumps({"model": model, "input": "Count to fifty.", "max_tokens": 200}),
        "isBase64Encoded": False,
    }


def _run(machine: str, given: dict[str, Any]) -> dict[str, Any]:
    client = boto3.client("stepfunctions")
    execution = client.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
    while (state := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(_POLL)
    if state["status"] != "SUCCEEDED":
        raise ValueError(f"The state machine ended as {state['status']}: {state.get('cause', execution)}")
    answer: dict[str, Any] = json.loads(state["output"])
    return answer


def _needed(stack: str, name: str) -> str:
    value = output(stack, name)
    if value is None:
        raise ValueError(f"The stack {stack} is not there, or has no output {name}.")
    return value


def _admin_key(settings: Stage) -> str:
    arn = _needed(f"{settings.prefix}-shared", "SettingsSecretArn")
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    return str(json.loads(secret)["HEADWATER_ADMIN_KEY"])


@contextmanager
def _key(url: str, admin_key: str) -> Iterator[str]:
    expires = (datetime.now(UTC) + _KEY_LIVES).isoformat()
    wanted = {
        "name": "power tuning",
        "scopes": ["completions"],
        "expires_at": expires,
        "limits": {"total_budget": _KEY_SPENDS},
    }
    made = _call("POST", f"{url}/v1/keys", admin_key, wanted)
    try:
        yield made["secret"]
    finally:
        _call("DELETE", f"{url}/v1/keys/{made['id']}", admin_key)


def _call(method: str, url: str, key: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310  an output of our own stack
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        answer: dict[str, Any] = json.loads(response.read() or b"{}")
    return answer
