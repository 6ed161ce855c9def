"""The image on Lambda Managed Instances: many streams in one environment, on instances that Lambda runs. A trial."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import stage
from infra.environment import environment
from infra.images import Image
from infra.lambda_home import LambdaHomeStack
from infra.log_groups import log_group
from infra.network import HOMES
from infra.shared import SharedStack
from infra.streaming_function import ALIAS, TIMEOUT
from infra.upstream import grant_upstream
from infra.workflow_access import grant_workflow

STREAMS_PER_ENVIRONMENT = 64
# The least that it takes: 2 GB and one vCPU an environment, three instances.
_MEMORY = 4096


class ManagedInstancesStack(Stack):
    """Reached by a Function URL with IAM. A function cannot leave its capacity provider again.

    It stands on the Lambda home, which migrates the database before this is deployed, and maintains it.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        lambda_home: LambdaHomeStack,
        image: Image,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self.add_dependency(lambda_home)
        provider = lambda_.CapacityProvider(
            self,
            "Capacity",
            capacity_provider_name=settings.prefix,
            subnets=shared.vpc.select_subnets(subnet_group_name=HOMES.subnet_group_name).subnets,
            security_groups=[shared.database.clients],
            architectures=[lambda_.Architecture.ARM_64],
            max_v_cpu_count=12,
            scaling_options=lambda_.ScalingOptions.auto(),
        )
        function = lambda_.DockerImageFunction(
            self,
            "Function",
            description="Headwater: many streams in one environment",
            code=image.function_code(),
            architecture=lambda_.Architecture.ARM_64,
            memory_size=_MEMORY,
            timeout=TIMEOUT,
            log_group=log_group(self, "Log", settings=settings),
            logging_format=lambda_.LoggingFormat.JSON,
            environment={
                **environment("lambda", settings=settings, shared=shared),
                "HEADWATER_POOL_MAX": "5",
                "AWS_LWA_INVOKE_MODE": "response_stream",
            },
        )
        provider.add_function(
            function,
            per_execution_environment_max_concurrency=STREAMS_PER_ENVIRONMENT,
            execution_environment_memory_gib_per_v_cpu=4,
        )
        assert function.role is not None
        shared.database.grant_connect(function)
        shared.secret.grant_read(function.role)
        grant_upstream(function.role, settings=settings, stack=self)
        grant_workflow(function.role, settings=settings, stack=self)
        alias = lambda_.Alias(self, "Live", alias_name=ALIAS, version=function.current_version)
        url = alias.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.AWS_IAM, invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM
        )
        CfnOutput(self, "FunctionUrl", value=url.url)
