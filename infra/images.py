"""Where images are kept, and which one is deployed: a digest, so that what was tried is what runs."""

import re
from dataclasses import dataclass

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.stage import Stage

# What the tags of images of each kind begin with (infra/commands/images.py).
TAGS = {"Dockerfile": "app-", "Dockerfile.lambda": "lambda-"}
# Of each kind. A repository does not know which digests run: this has to be far more than are made between two
# deployments of a home. They share their layers, so that one more is a few megabytes.
_KEPT = 500
# What templates are written with while there is no image yet.
NO_IMAGE = "sha256:" + "0" * 64


@dataclass(frozen=True, kw_only=True)
class Image:
    repository: ecr.IRepository
    digest: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", self.digest):
            raise ValueError(
                f"An image is named by its digest (sha256: and 64 hexadecimal digits), not {self.digest!r}"
            )

    def function_code(self) -> lambda_.DockerImageCode:
        return lambda_.DockerImageCode.from_ecr(self.repository, tag_or_digest=self.digest)

    def container(self) -> ecs.ContainerImage:
        return ecs.ContainerImage.from_ecr_repository(self.repository, self.digest)


class Images(Construct):
    """The repository of this deployment's images. Tags cannot be moved."""

    def __init__(self, scope: Construct, id: str, *, settings: Stage) -> None:
        super().__init__(scope, id)
        self.repository = ecr.Repository(
            self,
            "Repository",
            repository_name=settings.prefix,
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            encryption=ecr.RepositoryEncryption.AES_256,
            # Each kind is counted by itself: many of one would push out those of the other, whose home still runs them.
            lifecycle_rules=[
                ecr.LifecycleRule(tag_prefix_list=[prefix], max_image_count=_KEPT) for prefix in TAGS.values()
            ],
            removal_policy=RemovalPolicy.RETAIN if settings.keeps_data else RemovalPolicy.DESTROY,
            empty_on_delete=not settings.keeps_data,
        )
