"""What a home needs to ask the upstream."""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam

from infra import stage


def grant_upstream(role: iam.IRole, *, settings: stage.Stage, stack: Stack) -> None:
    """Bedrock's Anthropic models, in any region that a profile may lead to; Anthropic's own API needs nothing."""
    if settings.upstream != "bedrock":
        return
    role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream", "bedrock:CountTokens"],
            resources=[
                stack.format_arn(
                    service="bedrock",
                    region="*",
                    account=account,
                    resource=resource,
                    resource_name=name,
                    arn_format=ArnFormat.SLASH_RESOURCE_NAME,
                )
                for account, resource, name in (
                    ("", "foundation-model", "anthropic.*"),
                    (stack.account, "inference-profile", "*.anthropic.*"),
                )
            ],
        )
    )
