"""Environments of a function that are kept ready, by use and by the clock."""

from aws_cdk import Duration, TimeZone
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_lambda as lambda_

from infra.stage import Provisioned


def keep_ready(alias: lambda_.Alias, *, provisioned: Provisioned) -> None:
    capacity = alias.add_auto_scaling(min_capacity=provisioned.minimum, max_capacity=provisioned.maximum)
    capacity.scale_on_utilization(
        utilization_target=provisioned.utilization,
        scale_in_cooldown=Duration.minutes(5),
        scale_out_cooldown=Duration.minutes(1),
    )
    for change in provisioned.schedule:
        capacity.scale_on_schedule(
            change.name,
            schedule=scaling.Schedule.cron(hour=change.hour, minute=change.minute, week_day=change.week_day),
            time_zone=TimeZone.of(change.time_zone),
            min_capacity=change.minimum,
        )
