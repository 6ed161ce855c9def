"""The whole deployment of one stage, from settings alone: nothing is looked up.

Context: `stage` (dev); `image`, `buffered_image` (digests); `secrets_version` (its id);
`managed_instances`, `power_tuning` add those if true.
"""

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag

from infra.comparison import ComparisonStack
from infra.fargate_home import FargateHomeStack
from infra.images import NO_IMAGE, Image
from infra.lambda_home import LambdaHomeStack
from infra.managed_instances import ManagedInstancesStack
from infra.power_tuning import PowerTuningStack
from infra.rules import acknowledge
from infra.shared import SharedStack
from infra.stage import Stage, stage_called
from infra.workflow import WorkflowStack

_CDK_JSON = Path(__file__).parent / "cdk.json"
# Its schema has no tags, though CDK gives it some.
_UNTAGGED = ["AWS::RDS::DBProxyTargetGroup"]


def build(
    settings: Stage | None = None, *, context: dict[str, Any] | None = None, outdir: str | None = None
) -> cdk.App:
    """The stacks of `settings`, or of the stage that the context names.

    Raises:
        ValueError: there is no such stage, or a digest is none.
    """
    flags = json.loads(_CDK_JSON.read_text())["context"]
    app = cdk.App(context={**flags, **(context or {})}, outdir=outdir)
    settings = settings or stage_called(app.node.try_get_context("stage") or "dev")
    shared = SharedStack(app, "Shared", settings=settings, stack_name=f"{settings.prefix}-shared")
    image = _image(app, shared, "image")
    lambda_home = LambdaHomeStack(
        app,
        "Lambda",
        settings=settings,
        shared=shared,
        image=image,
        buffered_image=_image(app, shared, "buffered_image"),
        stack_name=f"{settings.prefix}-lambda",
    )
    if settings.workflow:
        WorkflowStack(
            app, "Workflow", settings=settings, shared=shared, image=image, stack_name=f"{settings.prefix}-workflow"
        ).add_stack_dependency(lambda_home)
    fargate_home = FargateHomeStack(
        app, "Fargate", settings=settings, shared=shared, image=image, stack_name=f"{settings.prefix}-fargate"
    )
    ComparisonStack(
        app,
        "Comparison",
        settings=settings,
        shared=shared,
        lambda_home=lambda_home,
        fargate_home=fargate_home,
        stack_name=f"{settings.prefix}-comparison",
    )
    _add_extras(app, settings, shared, lambda_home, image)
    cdk.Tags.of(app).add("project", "headwater", exclude_resource_types=_UNTAGGED)
    cdk.Tags.of(app).add("stage", settings.name, exclude_resource_types=_UNTAGGED)
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    acknowledge(app, settings=settings)
    return app


def _image(app: cdk.App, shared: SharedStack, name: str) -> Image:
    return Image(repository=shared.repository, digest=app.node.try_get_context(name) or NO_IMAGE)


def _add_extras(app: cdk.App, settings: Stage, shared: SharedStack, lambda_home: LambdaHomeStack, image: Image) -> None:
    if app.node.try_get_context("managed_instances") == "true":
        ManagedInstancesStack(
            app,
            "ManagedInstances",
            settings=settings,
            shared=shared,
            lambda_home=lambda_home,
            image=image,
            stack_name=f"{settings.prefix}-managed-instances",
        )
    if app.node.try_get_context("power_tuning") == "true":
        PowerTuningStack(app, "PowerTuning", settings=settings, stack_name=f"{settings.prefix}-power-tuning")


if __name__ == "__main__":
    build().synth()
