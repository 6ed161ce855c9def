"""The Lambda home: the function, its front doors, what keeps it ready, and what watches it."""

from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import stage
from infra.buffered_api import BufferedApi
from infra.dashboard import Panel, dashboard, lambda_panel
from infra.images import Image
from infra.lambda_alarms import LambdaAlarms
from infra.readiness import keep_ready
from infra.rest_api import StreamingApi
from infra.rollout import move_gradually
from infra.shared import SharedStack
from infra.streaming_function import TIMEOUT, StreamingFunction
from infra.web_acl import WebAcl


class LambdaHomeStack(Stack):
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        image: Image,
        buffered_image: Image,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        chosen = settings.lambda_home
        api = StreamingApi(self, "RestApi", settings=settings) if chosen.rest_api else None
        self.streaming = StreamingFunction(
            self,
            "Streaming",
            settings=settings,
            shared=shared,
            image=image,
            public_url=api.url if api is not None else None,
        )
        CfnOutput(self, "Image", value=image.digest)
        if api is not None:
            self._open(api, settings)
        if chosen.function_url is not None:
            self._open_url(chosen.function_url)
        if isinstance(chosen.readiness, stage.Provisioned):
            keep_ready(self.streaming.alias, provisioned=chosen.readiness)
        self._maintain()
        alarms = LambdaAlarms(self, "Watch", settings=settings, shared=shared, streaming=self.streaming, api=api)
        if chosen.gradual:
            move_gradually(self, alias=self.streaming.alias, alarms=alarms.of_versions)
        if chosen.buffered:
            buffered = BufferedApi(
                self,
                "Buffered",
                settings=settings,
                shared=shared,
                image=buffered_image,
                streaming=self.streaming,
                streaming_url=api.url if api is not None else None,
            )
            CfnOutput(self, "BufferedImage", value=buffered_image.digest)
            CfnOutput(self, "BufferedUrl", value=buffered.api.api_endpoint)
        self.panel: Panel = lambda_panel(streaming=self.streaming, api=api, alarms=alarms.all)
        dashboard(self, name=f"{settings.prefix}-lambda", panels=[self.panel])

    def _open(self, api: StreamingApi, settings: stage.Stage) -> None:
        api.lead_to(self.streaming.alias, timeout=TIMEOUT)
        if settings.lambda_home.web_acl:
            WebAcl(
                self,
                "WebAcl",
                name=f"{settings.prefix}-lambda",
                resource_arn=api.api.deployment_stage.stage_arn,
            )
        CfnOutput(self, "Url", value=api.url)

    def _open_url(self, auth: str) -> None:
        url = self.streaming.alias.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType[auth], invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM
        )
        CfnOutput(self, "FunctionUrl", value=url.url)

    def _maintain(self) -> None:
        """What a process that never freezes does by itself: end what lost its instance, delete what is too old."""
        events.Rule(
            self,
            "Maintenance",
            description="Headwater: expired leases and retention",
            schedule=events.Schedule.rate(Duration.minutes(1)),
            targets=[
                targets.LambdaFunction(
                    self.streaming.maintenance,
                    event=events.RuleTargetInput.from_object({"headwater": "maintenance"}),
                    # How often the event is delivered; the alias says how often it is tried.
                    retry_attempts=0,
                    max_event_age=Duration.minutes(1),
                )
            ],
        )
