"""What can go wrong with tasks and their load balancer."""

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from infra import metrics, stage
from infra.alarms import MINUTE, Alarms, stream_alarms
from infra.load_balancer import FrontDoor
from infra.shared import SharedStack

_NEAR = 0.8


class FargateAlarms(Construct):
    """`all`, and of them `of_versions`: those that a bad version sets off. Named before there is a service."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        front: FrontDoor,
        cluster: ecs.Cluster,
    ) -> None:
        super().__init__(scope, id)
        self._alarms = Alarms(self, "Alarms", settings=settings, topic=shared.topic)
        self.of_versions = [self._target_errors(front)]
        self._load_balancer(front)
        self._limits(settings, cluster)
        self.of_versions.append(stream_alarms(self._alarms, home="fargate", settings=settings))
        self.all = self._alarms.all

    def _target_errors(self, front: FrontDoor) -> cloudwatch.Alarm:
        rate = cloudwatch.MathExpression(
            expression="100 * errors / MAX([requests, 1])",
            using_metrics={
                "errors": front.target_group.metrics.http_code_target(
                    elb.HttpCodeTarget.TARGET_5XX_COUNT, period=MINUTE
                ),
                "requests": front.target_group.metrics.request_count(period=MINUTE),
            },
            period=MINUTE,
            label="failed requests, %",
        )
        return self._alarms.add(
            "fargate-error-rate", rate, above=1, meaning="More than 1 % of requests were answered with a 5xx."
        )

    def _load_balancer(self, front: FrontDoor) -> None:
        self._alarms.add(
            "fargate-load-balancer-errors",
            front.load_balancer.metrics.http_code_elb(elb.HttpCodeElb.ELB_5XX_COUNT, period=MINUTE),
            above=5,
            meaning="The load balancer answers by itself (5xx): no task is there, or one closed its connection.",
        )
        self._alarms.add(
            "fargate-unhealthy-tasks",
            front.target_group.metrics.unhealthy_host_count(period=MINUTE, statistic="Maximum"),
            above=0,
            minutes=5,
            meaning="Tasks do not answer /livez.",
        )

    def _limits(self, settings: stage.Stage, cluster: ecs.Cluster) -> None:
        self._alarms.add(
            "fargate-duration",
            metrics.own("StreamDuration", home="fargate", statistic="p99"),
            above=_NEAR * settings.stream_seconds * 1000,
            meaning="1 % of streams take more than 80 % of the time that one may take.",
        )
        tasks = cloudwatch.Metric(
            namespace="ECS/ContainerInsights",
            metric_name="RunningTaskCount",
            dimensions_map={"ClusterName": cluster.cluster_name, "ServiceName": settings.prefix},
            statistic="Maximum",
            period=MINUTE,
        )
        self._alarms.add(
            "fargate-concurrency",
            tasks,
            above=_NEAR * settings.fargate_home.maximum_tasks,
            minutes=5,
            meaning="More than 80 % of the tasks run that there may be.",
        )
