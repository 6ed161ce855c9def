"""The Fargate home: tasks of the same image behind a load balancer, as many as their open streams ask for."""

from typing import Any

from aws_cdk import ArnFormat, CfnOutput, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import metrics, stage
from infra.dashboard import Panel, dashboard, fargate_panel
from infra.fargate_alarms import FargateAlarms
from infra.images import Image
from infra.load_balancer import PORT, FrontDoor
from infra.migrations import Migrations
from infra.network import HOMES
from infra.shared import SharedStack
from infra.task import CONTAINER, Task
from infra.web_acl import WebAcl

_CPU_PERCENT = 60


class FargateHomeStack(Stack):
    def __init__(
        self, scope: Construct, id: str, *, settings: stage.Stage, shared: SharedStack, image: Image, **kwargs: Any
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self._vpc = shared.vpc
        # Rules for it are the shared stack's; a rule added from here would tie the two stacks to each other.
        self._clients = ec2.SecurityGroup.from_security_group_id(
            self, "Clients", shared.database.clients.security_group_id, mutable=False
        )
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=settings.prefix,
            vpc=shared.vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
        )
        self.task = Task(self, "Task", settings=settings, shared=shared, image=image)
        self.front = FrontDoor(self, "FrontDoor", vpc=shared.vpc, settings=settings)
        alarms = FargateAlarms(self, "Watch", settings=settings, shared=shared, front=self.front, cluster=self.cluster)
        self.service = self._service(settings, alarms.of_versions)
        self._scale(settings)
        if settings.fargate_home.web_acl:
            arn = self.front.load_balancer.load_balancer_arn
            WebAcl(self, "WebAcl", name=f"{settings.prefix}-fargate", resource_arn=arn)
        self.panel: Panel = fargate_panel(front=self.front, service=self.service, alarms=alarms.all)
        dashboard(self, name=f"{settings.prefix}-fargate", panels=[self.panel])
        CfnOutput(self, "Image", value=image.digest)
        CfnOutput(self, "Url", value=self.front.url)

    def _service(self, settings: stage.Stage, alarms: list[cloudwatch.Alarm]) -> ecs.FargateService:
        group = ec2.SecurityGroup(self, "Tasks", vpc=self._vpc, description="Tasks: only the load balancer")
        group.add_ingress_rule(self.front.group, ec2.Port.tcp(PORT), "load balancer")
        self.front.group.add_egress_rule(group, ec2.Port.tcp(PORT), "tasks")
        service = ecs.FargateService(
            self,
            "Service",
            service_name=settings.prefix,
            cluster=self.cluster,
            task_definition=self.task.definition,
            vpc_subnets=HOMES,
            security_groups=[group, self._clients],
            assign_public_ip=False,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            deployment_alarms=ecs.DeploymentAlarmConfig(
                alarm_names=[alarm.alarm_name for alarm in alarms], behavior=ecs.AlarmBehavior.ROLLBACK_ON_ALARM
            ),
            health_check_grace_period=Duration.seconds(60),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            enable_ecs_managed_tags=True,
        )
        self.front.target_group.add_target(service.load_balancer_target(container_name=CONTAINER))
        service.node.add_dependency(self.front.load_balancer, *alarms)
        service.node.add_dependency(self._migrations(settings, group))
        return service

    def _migrations(self, settings: stage.Stage, group: ec2.ISecurityGroup) -> Migrations:
        definition = self.task.definition
        assert definition.execution_role is not None
        return Migrations(
            self,
            "Migrations",
            settings=settings,
            version=definition.task_definition_arn,
            permissions=self._run_permissions(settings),
            task={
                "cluster": self.cluster.cluster_name,
                "taskDefinition": definition.task_definition_arn,
                "launchType": "FARGATE",
                "networkConfiguration": {
                    "awsvpcConfiguration": {
                        "subnets": self._vpc.select_subnets(subnet_group_name=HOMES.subnet_group_name).subnet_ids,
                        "securityGroups": [group.security_group_id, self._clients.security_group_id],
                        "assignPublicIp": "DISABLED",
                    }
                },
                "overrides": {
                    "containerOverrides": [{"name": CONTAINER, "command": ["python", "-m", "app.db.migrate"]}]
                },
            },
        )

    def _run_permissions(self, settings: stage.Stage) -> list[iam.PolicyStatement]:
        definition = self.task.definition
        roles = [role.role_arn for role in (definition.task_role, definition.execution_role) if role is not None]
        return [
            iam.PolicyStatement(
                actions=["ecs:RunTask"], resources=[self._ecs_arn("task-definition", f"{settings.prefix}:*")]
            ),
            iam.PolicyStatement(
                actions=["ecs:DescribeTasks"], resources=[self._ecs_arn("task", f"{settings.prefix}/*")]
            ),
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=roles,
                conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
        ]

    def _ecs_arn(self, resource: str, name: str) -> str:
        return self.format_arn(
            service="ecs", resource=resource, resource_name=name, arn_format=ArnFormat.SLASH_RESOURCE_NAME
        )

    def _scale(self, settings: stage.Stage) -> None:
        chosen = settings.fargate_home
        tasks = self.service.auto_scale_task_count(min_capacity=chosen.minimum_tasks, max_capacity=chosen.maximum_tasks)
        # A minute of a stream costs no CPU to speak of, but memory and files: so both are looked at.
        tasks.scale_to_track_custom_metric(
            "Streams",
            metric=metrics.own("OpenStreams", home="fargate", statistic="Average"),
            target_value=chosen.streams_per_task,
            scale_in_cooldown=Duration.minutes(5),
            scale_out_cooldown=Duration.minutes(1),
        )
        tasks.scale_on_cpu_utilization(
            "Cpu",
            target_utilization_percent=_CPU_PERCENT,
            scale_in_cooldown=Duration.minutes(5),
            scale_out_cooldown=Duration.minutes(1),
        )
