"""Images on their way into the repository, with a `docker` that only says what it was asked for."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from infra.commands import images
from infra.images import TAGS
from tests.infra.conftest import Templates
from tests.infra.templates import only

_REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/headwater-dev"
_REVISION = "0123456789ab"
# Nothing can be pushed: the last step fails.
_DOCKER = """#!/bin/sh
echo "$*" >> "$0.asked"
test "$1" != push
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    docker = tmp_path / "docker"
    docker.write_text(_DOCKER)
    docker.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(images, "_revision", lambda: _REVISION)
    with mock_aws():
        boto3.client("ecr").create_repository(repositoryName="headwater-dev", imageTagMutability="IMMUTABLE")
        yield tmp_path / "docker.asked"


@pytest.mark.parametrize("dockerfile", TAGS)
def test_an_image_of_the_same_source_is_neither_built_nor_pushed_again(asked: Path, dockerfile: str) -> None:
    manifest = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'
    there = boto3.client("ecr").put_image(
        repositoryName="headwater-dev", imageManifest=manifest, imageTag=TAGS[dockerfile] + _REVISION
    )

    assert images.push(_REPOSITORY, dockerfile) == there["image"]["imageId"]["imageDigest"]
    assert not asked.exists()


def test_an_image_that_is_not_there_is_built_for_arm_and_pushed(asked: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        images.push(_REPOSITORY, "Dockerfile.lambda")

    name = f"{_REPOSITORY}:lambda-{_REVISION}"
    login, *rest = asked.read_text().splitlines()
    assert login.startswith("login --username AWS --password-stdin ")
    assert rest == [f"build --platform linux/arm64 --file Dockerfile.lambda --tag {name} .", f"push {name}"]


def test_images_of_one_kind_never_push_out_those_of_the_other(dev: Templates) -> None:
    policy = only(dev["Shared"], "AWS::ECR::Repository")["LifecyclePolicy"]["LifecyclePolicyText"]
    selections = [each["selection"] for each in json.loads(policy)["rules"]]

    assert [each["tagPrefixList"] for each in selections] == [[prefix] for prefix in TAGS.values()]
    assert all(each["countType"] == "imageCountMoreThan" and each["countNumber"] >= 500 for each in selections)
