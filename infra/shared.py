"""What both homes stand on: network, database, secret, repository of images, and who is told of alarms."""

from typing import Any

from aws_cdk import CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.alarms import database_alarms
from infra.database import Database
from infra.images import Images
from infra.network import Network
from infra.notices import Notices
from infra.settings_secret import SettingsSecret
from infra.stage import Stage


class SharedStack(Stack):
    def __init__(self, scope: Construct, id: str, *, settings: Stage, **kwargs: Any) -> None:
        super().__init__(scope, id, **kwargs)
        key = self._key(settings) if settings.database.customer_key else None
        self.vpc = Network(self, "Network", settings=settings).vpc
        self.database = Database(self, "Database", vpc=self.vpc, settings=settings, key=key)
        self.secret = SettingsSecret(self, "Settings", settings=settings, key=key)
        self.repository = Images(self, "Images", settings=settings).repository
        self.topic = Notices(self, "Notices", settings=settings).topic
        self.alarms = database_alarms(self, settings=settings, database=self.database, topic=self.topic)
        CfnOutput(self, "RepositoryUri", value=self.repository.repository_uri)
        CfnOutput(self, "SettingsSecretArn", value=self.secret.secret.secret_arn)

    def _key(self, settings: Stage) -> kms.Key:
        return kms.Key(
            self,
            "Key",
            description=f"Headwater, {settings.name}: database and secrets",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN if settings.keeps_data else RemovalPolicy.DESTROY,
        )
