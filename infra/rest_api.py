"""The streaming front door: a regional REST API that passes on the answer as it comes."""

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import access_log, stage
from infra.log_groups import log_group

STAGE = "api"


class StreamingApi(Construct):
    """`url` is known before there is a function, so that the function can be told it."""

    def __init__(self, scope: Construct, id: str, *, settings: stage.Stage) -> None:
        super().__init__(scope, id)
        rate = settings.lambda_home.requests_per_second
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=settings.prefix,
            description="Headwater: streams completions",
            # Edge-optimised ones cut a silent stream after 30 s, these after 5 minutes.
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # A region's account needs such a role once, or stages with an access log are refused.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                tracing_enabled=True,
                metrics_enabled=True,
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                throttling_rate_limit=rate,
                throttling_burst_limit=2 * rate,
                access_log_destination=apigateway.LogGroupLogDestination(log_group(self, "Log", settings=settings)),
                access_log_format=access_log.FORMAT,
            ),
        )
        stack = Stack.of(self)
        self.url = f"https://{self.api.rest_api_id}.execute-api.{stack.region}.{stack.url_suffix}/{STAGE}"

    def lead_to(self, alias: lambda_.IFunction, *, timeout: Duration) -> None:
        """Every method and path goes to `alias`, which answers for `timeout` at the most."""
        integration = apigateway.LambdaIntegration(
            alias,
            timeout=timeout,
            response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
            # One permission for the API, not two for each method.
            scope_permission_to_method=False,
        )
        self.api.root.add_method("ANY", integration)
        self.api.root.add_proxy(default_integration=integration, any_method=True)
