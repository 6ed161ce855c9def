"""Metrics by their names: Headwater's own, and those of AWS that no construct has."""

from typing import Literal

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

Home = Literal["lambda", "fargate"]
NAMESPACE = "Headwater"
_MINUTE = Duration.minutes(1)


def own(name: str, *, home: Home, statistic: str, period: Duration = _MINUTE) -> cloudwatch.Metric:
    """One that the application writes, over all dialects and models of a home."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={"home": home},
        statistic=statistic,
        period=period,
        label=f"{home} {name} {statistic}",
    )


def proxy(name: str, *, proxy: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/RDS",
        metric_name=name,
        dimensions_map={"ProxyName": proxy},
        statistic=statistic,
        period=_MINUTE,
        label=f"{name} {statistic}",
    )


def executions(name: str, *, machine_arn: str) -> cloudwatch.Metric:
    """Of a state machine."""
    return cloudwatch.Metric(
        namespace="AWS/States",
        metric_name=name,
        dimensions_map={"StateMachineArn": machine_arn},
        statistic="Sum",
        period=_MINUTE,
        label=name,
    )


def claimed_concurrency() -> cloudwatch.Metric:
    """Of the region's account: what runs, and what is reserved or provisioned."""
    return cloudwatch.Metric(
        namespace="AWS/Lambda", metric_name="ClaimedAccountConcurrency", statistic="Maximum", period=_MINUTE
    )
