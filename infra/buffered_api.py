"""The buffered function of `Dockerfile.lambda` behind an HTTP API: whole answers, for which there are 19 seconds.

The HTTP API waits 30 s, the function has 29 s, and the application ends 10 s before them (app/entrypoints/events.py).
"""

import jsii
from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_lambda as lambda_
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra import access_log, stage
from infra.environment import environment
from infra.images import Image
from infra.log_groups import log_group
from infra.network import HOMES
from infra.shared import SharedStack
from infra.streaming_function import ALIAS, StreamingFunction
from infra.upstream import grant_upstream
from infra.workflow_access import grant_workflow

_TIMEOUT = Duration.seconds(29)


@jsii.implements(apigatewayv2.IAccessLogSettings)
class _AccessLog:
    """An interface of CDK that has no class of its own."""

    def __init__(self, *, destination: apigatewayv2.IAccessLogDestination) -> None:
        self._destination = destination

    @property
    def destination(self) -> apigatewayv2.IAccessLogDestination:
        return self._destination

    @property
    def format(self) -> apigateway.AccessLogFormat:
        return access_log.FORMAT


class BufferedApi(Construct):
    """`api` and the `alias` that it leads to."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        image: Image,
        streaming: StreamingFunction,
        streaming_url: str | None,
    ) -> None:
        super().__init__(scope, id)
        function = lambda_.DockerImageFunction(
            self,
            "Function",
            description="Headwater: whole answers",
            code=image.function_code(),
            architecture=lambda_.Architecture.ARM_64,
            memory_size=settings.lambda_home.memory,
            timeout=_TIMEOUT,
            # Whatever the streaming function has: this one is for callers who can wait for a start.
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS,
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.DESTROY),
            tracing=lambda_.Tracing.ACTIVE,
            log_group=log_group(self, "Log", settings=settings),
            logging_format=lambda_.LoggingFormat.JSON,
            vpc=shared.vpc,
            vpc_subnets=HOMES,
            security_groups=[shared.database.clients],
            environment={
                **environment("lambda", settings=settings, shared=shared),
                "HEADWATER_BACKGROUND_FUNCTION": streaming.alias.function_arn,
                "HEADWATER_XRAY": "true",
                **({"HEADWATER_STREAMING_URL": streaming_url} if streaming_url else {}),
            },
        )
        assert function.role is not None
        shared.database.grant_connect(function)
        shared.secret.grant_read(function.role)
        streaming.grant_hand_over(function.role)
        grant_upstream(function.role, settings=settings, stack=Stack.of(self))
        grant_workflow(function.role, settings=settings, stack=Stack.of(self))
        self.alias = lambda_.Alias(self, "Live", alias_name=ALIAS, version=function.current_version)
        self.api = apigatewayv2.HttpApi(self, "Api", api_name=f"{settings.prefix}-buffered", create_default_stage=False)
        self.api.add_routes(
            path="/{proxy+}",
            integration=HttpLambdaIntegration(
                "Integration", self.alias, payload_format_version=apigatewayv2.PayloadFormatVersion.VERSION_2_0
            ),
        )
        rate = settings.lambda_home.requests_per_second
        self.stage = apigatewayv2.HttpStage(
            self,
            "Stage",
            http_api=self.api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigatewayv2.ThrottleSettings(rate_limit=rate, burst_limit=2 * rate),
            access_log_settings=_AccessLog(
                destination=apigatewayv2.LogGroupLogDestination(log_group(self, "AccessLog", settings=settings)),
            ),
        )
