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


def secrets_version(shared: str) -> str | None:
    """Id of the current version of the settings' secret, if the shared stack is there."""
    arn = output(shared, "SettingsSecretArn")
    if arn is None:
        return None
    secret = boto3.client("secretsmanager").describe_secret(SecretId=arn)
    versions: dict[str, list[str]] = secret["VersionIdsToStages"]
    return next(id for id, stages in versions.items() if "AWSCURRENT" in stages)


def _stack(name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as exc:
        if exc.response["Error"]["Code"] == "ValidationError":  # there is no such stack
            return None
        raise
    return found
