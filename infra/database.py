"""Aurora PostgreSQL Serverless v2 behind RDS Proxy, which is the only way to it."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from infra import stage
from infra.network import DATA

NAME = "headwater"
USER = "headwater"
PORT = 5432
# Shorter than the pool's own patience (HEADWATER_POOL_TIMEOUT, 5 s), so that a full proxy is told as such.
BORROW_TIMEOUT = Duration.seconds(4)


class Database(Construct):
    """`cluster`, `proxy`, and `clients`: the security group of those who may connect to the proxy."""

    def __init__(
        self, scope: Construct, id: str, *, vpc: ec2.IVpc, settings: stage.Stage, key: kms.IKey | None
    ) -> None:
        super().__init__(scope, id)
        self.clients = ec2.SecurityGroup(self, "Clients", vpc=vpc, description="May connect to the proxy")
        behind = ec2.SecurityGroup(
            self, "Behind", vpc=vpc, description="Aurora: only the proxy", allow_all_outbound=False
        )
        front = ec2.SecurityGroup(
            self, "Front", vpc=vpc, description="Proxy: only its clients", allow_all_outbound=False
        )
        front.add_ingress_rule(self.clients, ec2.Port.tcp(PORT), "clients of the proxy")
        self.cluster = self._cluster(vpc, settings, key, behind)
        # Adds the rules between proxy and cluster itself; a second time they would be refused as duplicates.
        self.proxy = self._proxy(vpc, front)

    def _cluster(
        self, vpc: ec2.IVpc, settings: stage.Stage, key: kms.IKey | None, group: ec2.ISecurityGroup
    ) -> rds.DatabaseCluster:
        chosen = settings.database
        version = rds.AuroraPostgresEngineVersion.of(chosen.engine_version, chosen.engine_version.split(".")[0])
        return rds.DatabaseCluster(
            self,
            "Cluster",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=version),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            readers=[
                rds.ClusterInstance.serverless_v2(f"Reader{n}", scale_with_writer=True)
                for n in range(1, chosen.readers + 1)
            ],
            serverless_v2_min_capacity=chosen.minimum_acu,
            serverless_v2_max_capacity=chosen.maximum_acu,
            vpc=vpc,
            vpc_subnets=DATA,
            security_groups=[group],
            default_database_name=NAME,
            iam_authentication=True,
            # RDS makes the password, keeps it in Secrets Manager and changes it every seven days.
            manage_master_user_password=True,
            credentials=rds.Credentials.from_username(USER, encryption_key=key),
            storage_encrypted=True,
            storage_encryption_key=key,
            backup=rds.BackupProps(retention=Duration.days(chosen.backup_days)),
            copy_tags_to_snapshot=True,
            deletion_protection=settings.keeps_data,
            removal_policy=RemovalPolicy.SNAPSHOT if settings.keeps_data else RemovalPolicy.DESTROY,
            auto_minor_version_upgrade=True,
        )

    def _proxy(self, vpc: ec2.IVpc, group: ec2.ISecurityGroup) -> rds.DatabaseProxy:
        assert self.cluster.secret is not None
        return self.cluster.add_proxy(
            "Proxy",
            vpc=vpc,
            vpc_subnets=DATA,
            security_groups=[group],
            secrets=[self.cluster.secret],
            iam_auth=True,
            require_tls=True,
            borrow_timeout=BORROW_TIMEOUT,
            idle_client_timeout=Duration.minutes(30),
            max_connections_percent=70,
            max_idle_connections_percent=20,
        )

    @property
    def url(self) -> str:
        """Without a password: that is an IAM token, made for each connection."""
        return f"postgresql://{USER}@{self.proxy.endpoint}:{PORT}/{NAME}?sslmode=verify-full&sslrootcert=system"

    def grant_connect(self, grantee: iam.IGrantable) -> None:
        self.proxy.grant_connect(grantee, USER)
