"""Both homes, their database and the batches on one dashboard."""

from typing import Any

from aws_cdk import Stack
from constructs import Construct

from infra.dashboard import dashboard, database_panels, workflow_panel
from infra.fargate_home import FargateHomeStack
from infra.lambda_home import LambdaHomeStack
from infra.shared import SharedStack
from infra.stage import Stage
from infra.workflow_access import machine_arn


class ComparisonStack(Stack):
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Stage,
        shared: SharedStack,
        lambda_home: LambdaHomeStack,
        fargate_home: FargateHomeStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        database = database_panels(database=shared.database, alarms=shared.alarms)
        workflow = [workflow_panel(machine_arn(self, settings))] if settings.workflow else []
        dashboard(self, name=settings.prefix, panels=[lambda_home.panel, fargate_home.panel, *database, *workflow])
