"""The function that the state machine of batches invokes: the one image, which here answers with what came of an event.

A function that streams cannot do so: its answers begin with what the front doors read, and are no JSON. Items and
callers share the account's concurrency, but for what a stage reserves for either.
"""

from aws_cdk import ArnFormat, RemovalPolicy, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.environment import environment
from infra.images import Image
from infra.log_groups import log_group
from infra.network import HOMES
from infra.shared import SharedStack
from infra.stage import Stage
from infra.streaming_function import ALIAS, TIMEOUT
from infra.upstream import grant_upstream
from infra.workflow_access import grant_workflow

# It waits for the upstream, and nobody waits for it: more would buy a faster start.
_MEMORY = 512


class BatchFunction(Construct):
    """`function`, its alias `live`, and the alias's ARN by name, so that it is a text before anything is deployed."""

    def __init__(self, scope: Construct, id: str, *, settings: Stage, shared: SharedStack, image: Image) -> None:
        super().__init__(scope, id)
        name = f"{settings.prefix}-batches"
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=name,
            description="Headwater: runs the items of batches",
            code=image.function_code(),
            architecture=lambda_.Architecture.ARM_64,
            memory_size=_MEMORY,
            timeout=TIMEOUT,
            reserved_concurrent_executions=settings.batch_concurrency,
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.DESTROY),
            tracing=lambda_.Tracing.ACTIVE,
            log_group=log_group(self, "Log", settings=settings),
            logging_format=lambda_.LoggingFormat.JSON,
            vpc=shared.vpc,
            vpc_subnets=HOMES,
            security_groups=[shared.database.clients],
            environment={
                **environment("lambda", settings=settings, shared=shared),
                "AWS_LWA_INVOKE_MODE": "buffered",
            },
        )
        assert self.function.role is not None
        shared.database.grant_connect(self.function)
        shared.secret.grant_read(self.function.role)
        grant_upstream(self.function.role, settings=settings, stack=Stack.of(self))
        grant_workflow(self.function.role, settings=settings, stack=Stack.of(self))
        self.alias = lambda_.Alias(self, "Live", alias_name=ALIAS, version=self.function.current_version)
        self.alias_arn = Stack.of(self).format_arn(
            service="lambda",
            resource="function",
            resource_name=f"{name}:{ALIAS}",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
