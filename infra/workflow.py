"""The state machine of batches, the function that does its work, and what watches it."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import metrics
from infra.alarms import Alarms
from infra.batch_definition import BatchDefinition
from infra.batch_function import BatchFunction
from infra.images import Image
from infra.log_groups import log_group
from infra.shared import SharedStack
from infra.stage import Stage
from infra.workflow_access import executions_arn, machine_arn, machine_name

# AWS knows no resources for these actions.
_LOGGING = [
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
]
_TRACING = [
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
]


class WorkflowStack(Stack):
    """`machine` may invoke the function's alias, and start, watch and stop the executions of its items.

    It stands on the Lambda home, which migrates the database before this is deployed, and maintains it.
    """

    def __init__(
        self, scope: Construct, id: str, *, settings: Stage, shared: SharedStack, image: Image, **kwargs: Any
    ) -> None:
        super().__init__(scope, id, **kwargs)
        work = BatchFunction(self, "Work", settings=settings, shared=shared, image=image)
        function = lambda_.Function.from_function_arn(self, "Live", work.alias_arn)
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=machine_name(settings),
            definition_body=sfn.DefinitionBody.from_chainable(BatchDefinition(self, "Batch", function=function).start),
            role=self._role(settings, work.alias_arn).without_policy_updates(),
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=log_group(self, "Log", settings=settings),
                level=sfn.LogLevel.ALL,
                # It has the tokens that end a wait.
                include_execution_data=False,
            ),
        )
        self.machine.node.add_dependency(work.alias)
        # CDK's own, whatever the role: it allows redrives too.
        self.machine.node.try_remove_child("DistributedMapPolicy")
        self._watch(settings, shared)
        CfnOutput(self, "Image", value=image.digest)
        CfnOutput(self, "StateMachineArn", value=self.machine.state_machine_arn)

    def _role(self, settings: Stage, function_arn: str) -> iam.Role:
        """Exact statements: those that CDK would add allow every version of the function."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        for actions, resource in (
            (["lambda:InvokeFunction"], function_arn),
            (["states:StartExecution"], machine_arn(self, settings)),
            (["states:DescribeExecution", "states:StopExecution"], executions_arn(self, settings)),
            (_LOGGING, "*"),
            (_TRACING, "*"),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
        return role

    def _watch(self, settings: Stage, shared: SharedStack) -> None:
        alarms = Alarms(self, "Alarms", settings=settings, topic=shared.topic)
        alarms.add(
            "workflow-failed",
            metrics.executions("ExecutionsFailed", machine_arn=machine_arn(self, settings)),
            above=0,
            minutes=1,
            meaning="Executions of batches failed; what became of their items is in the database.",
        )
