"""AWS Lambda Power Tuning, a published state machine, pointed at the streaming function of this deployment."""

from typing import Any

from aws_cdk import Arn, ArnComponents, ArnFormat, CfnOutput, Stack
from aws_cdk import aws_sam as sam
from constructs import Construct

from infra.stage import Stage

POWERS = (512, 1024, 1769, 3008)
_VERSION = "4.4.0"
# Its publisher's, in the only region where such applications are published from.
_APPLICATION = Arn.format(
    ArnComponents(
        partition="aws",
        service="serverlessrepo",
        region="us-east-1",
        account="451282441545",
        resource="applications",
        resource_name="aws-lambda-power-tuning",
        arn_format=ArnFormat.SLASH_RESOURCE_NAME,
    )
)


class PowerTuningStack(Stack):
    def __init__(self, scope: Construct, id: str, *, settings: Stage, **kwargs: Any) -> None:
        super().__init__(scope, id, **kwargs)
        function = self.format_arn(
            service="lambda",
            resource="function",
            resource_name=settings.prefix,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        tuning = sam.CfnApplication(
            self,
            "PowerTuning",
            location=sam.CfnApplication.ApplicationLocationProperty(
                application_id=_APPLICATION, semantic_version=_VERSION
            ),
            parameters={
                "lambdaResource": f"{function}*",
                "PowerValues": ",".join(map(str, POWERS)),
                "visualizationURL": "",
                # An answer takes as long as a stream.
                "totalExecutionTimeout": "900",
            },
        )
        CfnOutput(self, "StateMachineArn", value=tuning.get_att("Outputs.StateMachineARN").to_string())
        CfnOutput(self, "FunctionArn", value=function)
