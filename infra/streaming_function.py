"""The function that streams: the one image behind its web adapter, a version for every change, and the alias `live`."""

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import stage
from infra.environment import environment
from infra.images import Image
from infra.log_groups import log_group
from infra.migrations import Migrations
from infra.network import HOMES
from infra.shared import SharedStack
from infra.upstream import grant_upstream
from infra.workflow_access import grant_workflow

ALIAS = "live"
_MAINTENANCE = "maintenance"
TIMEOUT = Duration.seconds(900)
# A generation that nobody waits for is of no use to anybody who comes for it much later.
_OLDEST_HAND_OVER = Duration.minutes(5)


class StreamingFunction(Construct):
    """`function`, its alias `live`, and `undelivered`: the queue of background generations that could not be run.

    `maintenance`: an alias of the same version, since what becomes of failed invocations is said for an alias.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        image: Image,
        public_url: str | None,
    ) -> None:
        super().__init__(scope, id)
        # It has a name so that it can be told its own: a reference to itself in its environment would be a circle.
        self.name = settings.prefix
        self.undelivered = sqs.Queue(
            self,
            "Undelivered",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.function = self._function(settings, shared, image, public_url)
        self._permit(settings, shared)
        version = self.function.current_version
        migrations = Migrations(
            self,
            "Migrations",
            settings=settings,
            version=version.function_arn,
            permissions=[
                iam.PolicyStatement(
                    actions=["lambda:InvokeFunction", "lambda:GetFunctionConfiguration"],
                    resources=[self._own_arn("*")],
                )
            ],
        )
        self.alias = lambda_.Alias(
            self,
            "Live",
            alias_name=ALIAS,
            version=version,
            max_event_age=_OLDEST_HAND_OVER,
            retry_attempts=2,
            on_failure=destinations.SqsDestination(self.undelivered),
        )
        self.maintenance = lambda_.Alias(
            self,
            "Maintenance",
            alias_name=_MAINTENANCE,
            version=version,
            # The next one does what this one could not.
            max_event_age=Duration.minutes(1),
            retry_attempts=0,
        )
        for alias in (self.alias, self.maintenance):
            alias.node.add_dependency(migrations)

    def _function(
        self, settings: stage.Stage, shared: SharedStack, image: Image, public_url: str | None
    ) -> lambda_.DockerImageFunction:
        chosen = settings.lambda_home
        return lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=self.name,
            description="Headwater: streams completions",
            code=image.function_code(),
            architecture=lambda_.Architecture.ARM_64,
            memory_size=chosen.memory,
            timeout=TIMEOUT,
            reserved_concurrent_executions=chosen.reserved_concurrency,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS
            if isinstance(chosen.readiness, stage.SnapStart)
            else None,
            # Kept until the alias has moved on. Snapshots of old versions would be billed as long as they are there.
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.DESTROY),
            tracing=lambda_.Tracing.ACTIVE,
            log_group=log_group(self, "Log", settings=settings),
            logging_format=lambda_.LoggingFormat.JSON,
            vpc=shared.vpc,
            vpc_subnets=HOMES,
            security_groups=[shared.database.clients],
            environment={
                **environment("lambda", settings=settings, shared=shared),
                "HEADWATER_BACKGROUND_FUNCTION": self._own_arn(ALIAS),
                # Also in the image. The front doors are built for it: in another mode they would answer nonsense.
                "AWS_LWA_INVOKE_MODE": "response_stream",
                **({"HEADWATER_PUBLIC_URL": public_url} if public_url else {}),
            },
        )

    def _permit(self, settings: stage.Stage, shared: SharedStack) -> None:
        assert self.function.role is not None
        shared.database.grant_connect(self.function)
        shared.secret.grant_read(self.function.role)
        grant_upstream(self.function.role, settings=settings, stack=Stack.of(self))
        grant_workflow(self.function.role, settings=settings, stack=Stack.of(self))
        self.grant_hand_over(self.function.role)

    def grant_hand_over(self, role: iam.IRole) -> None:
        """To give it the generations that no response waits for."""
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self._own_arn(ALIAS)])
        )

    def _own_arn(self, qualifier: str) -> str:
        return Stack.of(self).format_arn(
            service="lambda",
            resource="function",
            resource_name=f"{self.name}:{qualifier}",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
