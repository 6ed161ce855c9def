"""A task of the Fargate home: one container of the one image."""

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import stage
from infra.environment import environment
from infra.images import Image
from infra.load_balancer import PORT, idle_timeout
from infra.log_groups import log_group
from infra.shared import SharedStack
from infra.upstream import grant_upstream
from infra.workflow_access import grant_workflow

CONTAINER = "app"
# The most that Fargate gives. HEADWATER_DRAIN_GRACE (100 s) and the last commits are within it.
STOP_TIMEOUT = Duration.seconds(120)
# Past what the load balancer waits for: of an idle connection, the one that closes first must be it.
_LATER = 15
# A stream has two, its caller's and the upstream's.
_OPEN_FILES = 65_535


class Task(Construct):
    """`definition`, allowed to do what the application does and no more."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        image: Image,
    ) -> None:
        super().__init__(scope, id)
        chosen = settings.fargate_home
        self.definition = ecs.FargateTaskDefinition(
            self,
            "Definition",
            family=settings.prefix,
            cpu=chosen.cpu,
            memory_limit_mib=chosen.memory,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            ),
        )
        container = self.definition.add_container(
            CONTAINER,
            container_name=CONTAINER,
            image=image.container(),
            user="65532:65532",
            readonly_root_filesystem=True,
            stop_timeout=STOP_TIMEOUT,
            environment=self._environment(settings, shared),
            port_mappings=[ecs.PortMapping(container_port=PORT)],
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix=CONTAINER,
                log_group=log_group(self, "Log", settings=settings),
                # A log that cannot be delivered may be lost, and holds up no stream.
                mode=ecs.AwsLogDriverMode.NON_BLOCKING,
            ),
        )
        container.add_ulimits(ecs.Ulimit(name=ecs.UlimitName.NOFILE, soft_limit=_OPEN_FILES, hard_limit=_OPEN_FILES))
        shared.database.grant_connect(self.definition.task_role)
        shared.secret.grant_read(self.definition.task_role)
        grant_upstream(self.definition.task_role, settings=settings, stack=Stack.of(self))
        grant_workflow(self.definition.task_role, settings=settings, stack=Stack.of(self))
        self._grant_protection(settings)

    def _environment(self, settings: stage.Stage, shared: SharedStack) -> dict[str, str]:
        keep_alive = idle_timeout(settings).to_seconds() + _LATER
        public_url = settings.fargate_home.public_url
        return {
            **environment("fargate", settings=settings, shared=shared),
            "HEADWATER_HOST": "0.0.0.0",  # noqa: S104  the load balancer comes from outside of the container
            "HEADWATER_PORT": str(PORT),
            "HEADWATER_KEEP_ALIVE": str(int(keep_alive)),
            **({"HEADWATER_PUBLIC_URL": public_url} if public_url else {}),
        }

    def _grant_protection(self, settings: stage.Stage) -> None:
        """A task with running generations keeps itself from being scaled in (app/entrypoints/task_protection.py)."""
        tasks = Stack.of(self).format_arn(
            service="ecs",
            resource="task",
            resource_name=f"{settings.prefix}/*",
            arn_format=ArnFormat.SLASH_RESOURCE_NAME,
        )
        self.definition.task_role.add_to_principal_policy(
            iam.PolicyStatement(actions=["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"], resources=[tasks])
        )
