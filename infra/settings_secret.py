"""The one secret with the settings that are secret, which both homes read at their start."""

import json

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.stage import Stage


class SettingsSecret(Construct):
    """A JSON object under the names of the settings. The admin key is made here, the upstream's is put in by hand.

    `version`: the one that is current, where the deployment knows it.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Stage, key: kms.IKey | None) -> None:
        super().__init__(scope, id)
        self.version: str | None = self.node.try_get_context("secrets_version")
        self._key = key
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description=f"Headwater, {settings.name}: HEADWATER_ADMIN_KEY, ANTHROPIC_API_KEY",
            encryption_key=key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=json.dumps({"ANTHROPIC_API_KEY": ""}),
                generate_string_key="HEADWATER_ADMIN_KEY",
                exclude_punctuation=True,
                password_length=48,
            ),
            removal_policy=RemovalPolicy.RETAIN if settings.keeps_data else RemovalPolicy.DESTROY,
        )

    def grant_read(self, role: iam.IRole) -> None:
        """In the role's own policy: the secret's grants would name the role in the key's policy, in another stack."""
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[self.secret.secret_arn])
        )
        if self._key is not None:
            service = f"secretsmanager.{Stack.of(self).region}.amazonaws.com"
            role.add_to_principal_policy(
                iam.PolicyStatement(
                    actions=["kms:Decrypt"],
                    resources=[self._key.key_arn],
                    conditions={"StringEquals": {"kms:ViaService": service}},
                )
            )
