"""Finds out what is deployed."""

from typing import Any

import boto3
from botocore.exceptions import ClientError


def is_there(stack: str) -> bool:
    return _stack(stack) is not None


def output(stack: str, name: str) -> str | None:
    """An output of a stack, if there are both."""
    outputs = (_stack(stack) or {}).get("Outputs", [])
    return next((each["OutputValue"] for each in outputs if each["OutputKey"] == name), None)


def _stack(name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as exc:
        if exc.response["Error"]["Code"] == "ValidationError":  # there is no such stack
            return None
        raise
    return found
