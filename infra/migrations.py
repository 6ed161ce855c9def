"""Migrations run when a home is deployed, before any traffic moves to what needs them; see docs/adr."""

from pathlib import Path
from typing import Any

from aws_cdk import CustomResource, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.log_groups import log_group
from infra.stage import Stage

_CODE = str(Path(__file__).parent / "functions" / "migrate")
_PATIENCE = Duration.minutes(15)


class Migrations(Construct):
    """When this is there, the database is what `version` needs (the ARN of a function's version or a task definition).

    With `task` (arguments of RunTask, as JSON) a task runs them, without it an invocation of that version does.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Stage,
        version: str,
        permissions: list[iam.PolicyStatement],
        task: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(scope, id)
        function = lambda_.Function(
            self,
            "Function",
            description="Runs the migrations when Headwater is deployed",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler="index.handler",
            code=lambda_.Code.from_asset(_CODE, exclude=["__pycache__"]),
            timeout=_PATIENCE,
            memory_size=256,
            # CloudFormation has its answer by then, and takes no second one.
            retry_attempts=0,
            initial_policy=permissions,
            log_group=log_group(self, "Log", settings=settings),
        )
        properties: dict[str, Any] = {"Version": version}
        if task is not None:
            properties["Task"] = Stack.of(self).to_json_string(task)
        run = CustomResource(
            self,
            "Run",
            resource_type="Custom::Migrations",
            service_token=function.function_arn,
            service_timeout=_PATIENCE,
            properties=properties,
        )
        run.node.add_dependency(function)  # with all that belongs to it, not only the function itself
