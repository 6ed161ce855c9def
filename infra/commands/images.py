"""Puts images into the deployment's repository."""

import base64
import os
import subprocess
import time
from pathlib import Path

import boto3

from infra.images import TAGS

_ROOT = Path(__file__).parents[2]
# With the attestations that BuildKit adds by itself, an image is a list of images, which Lambda refuses.
_ENVIRONMENT = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def push(repository: str, dockerfile: str) -> str:
    """Build for arm64 and push, unless an image of this source is there: tags cannot be moved. Its digest.

    Raises:
        subprocess.CalledProcessError: git or docker failed.
    """
    tag = TAGS[dockerfile] + _revision()
    if (digest := _digest(repository, tag)) is not None:
        print(f"The image {tag} is there already.")
        return digest
    _log_in(repository)
    name = f"{repository}:{tag}"
    _docker("build", "--platform", "linux/arm64", "--file", dockerfile, "--tag", name, ".")
    _docker("push", name)
    digest = _digest(repository, tag)
    assert digest is not None, "it has just been pushed"
    return digest


def _log_in(repository: str) -> None:
    token = boto3.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    registry = repository.partition("/")[0]
    _docker("login", "--username", user, "--password-stdin", registry, stdin=password)


def _digest(repository: str, tag: str) -> str | None:
    client = boto3.client("ecr")
    name = repository.partition("/")[2]
    try:
        images = client.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
    except client.exceptions.ImageNotFoundException:
        return None
    return str(images["imageDetails"][0]["imageDigest"])


def _revision() -> str:
    """Of the source; what is not committed gets a name of its own each time."""
    revision = _git("rev-parse", "--short=12", "HEAD")
    return f"{revision}-{int(time.time())}" if _git("status", "--porcelain") else revision


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=_ROOT, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607


def _docker(*arguments: str, stdin: str | None = None) -> None:
    environment = {**os.environ, **_ENVIRONMENT}
    subprocess.run(["docker", *arguments], cwd=_ROOT, check=True, input=stdin, text=True, env=environment)  # noqa: S607
