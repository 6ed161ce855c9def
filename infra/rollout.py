"""How traffic moves to a new version: a tenth first, and back if an alarm goes off."""

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct


def move_gradually(scope: Construct, *, alias: lambda_.Alias, alarms: list[cloudwatch.Alarm]) -> None:
    codedeploy.LambdaDeploymentGroup(
        scope,
        "Rollout",
        alias=alias,
        deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
        alarms=alarms,
        auto_rollback=codedeploy.AutoRollbackConfig(
            failed_deployment=True, stopped_deployment=True, deployment_in_alarm=True
        ),
    )
