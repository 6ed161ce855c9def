"""A cloud that is none: moto's server, whose CloudFormation takes every type of resource.

Of what moto models too little for our templates there are stand-ins, which have a name and answer every `Fn::GetAtt`.
It shows that stacks, references, assets and their order are right; nothing of what AWS does with them.

    python tests/infra/fake_cloud.py 5000
"""

import json
import sys
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends
from moto.server import main

# What CDK's own command line looks at, and types whose identifiers others are computed from.
_MODELLED = {
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::VPC",
    "AWS::ECR::Repository",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::SSM::Parameter",
}
# CDK takes parts out of these.
_REFERENCES = {
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "loadbalancer/app/{name}/1a2b",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "targetgroup/{name}/3c4d",
    "AWS::ElasticLoadBalancingV2::Listener": "listener/app/{name}/1a2b/5e6f",
    "AWS::ECS::TaskDefinition": "task-definition/{name}:1",
    "AWS::Lambda::Alias": "function:{name}:live",
    "AWS::Lambda::Version": "function:{name}:1",
}
_ATTRIBUTES = {"Version": "1", "Endpoint.Port": "5432", "DBProxyArn": "db-proxy:prx-0123456789abcdef0"}


class StandIn(CloudFormationModel):
    # moto sorts its models by where they are defined.
    __module__ = "moto.standin.models"

    def __init__(self, name: str, kind: str, account: str, region: str) -> None:
        self.name, self.type = name, kind
        service = "elasticloadbalancing" if "LoadBalancing" in kind else kind.split("::")[1].lower()
        self._arn = f"arn:aws:{service}:{region}:{account}:"

    @property
    def physical_resource_id(self) -> str:
        form = _REFERENCES.get(self.type)
        return self._arn + form.format(name=self.name) if form else self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "StandIn"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        if attribute_name.endswith("FullName"):
            return self.physical_resource_id.rpartition(":")[2].removeprefix("loadbalancer/")
        if "Arn" in attribute_name:
            return self._arn + _ATTRIBUTES.get(attribute_name, self.name)
        return _ATTRIBUTES.get(attribute_name, f"{self.name}-{attribute_name}".lower())

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> "StandIn":
        return cls(resource_name, cloudformation_json["Type"], account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: "StandIn", new_resource_name: str, *args: Any, **kwargs: Any
    ) -> "StandIn":
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, *args: Any, **kwargs: Any) -> None:
        return None

    def delete(self, *args: Any, **kwargs: Any) -> None:
        return None

    def is_created(self) -> bool:
        return True


class Secret(StandIn):
    """One that can be asked for and changed: the commands look at its version."""

    __module__ = "moto.standin.models"

    def __init__(self, name: str, kind: str, account: str, region: str) -> None:
        super().__init__(name, kind, account, region)
        made = secretsmanager_backends[account][region].create_secret(
            name=name,
            secret_string="{}",
            secret_binary=None,
            description=None,
            tags=None,
            kms_key_id=None,
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        self._secret: str = json.loads(made)["ARN"]

    @property
    def physical_resource_id(self) -> str:
        return self._secret


_modelled = parsing.resource_class_from_type


def _class_of(resource_type: str) -> type[CloudFormationModel]:
    if resource_type in _MODELLED:
        return _modelled(resource_type)
    return Secret if resource_type == "AWS::SecretsManager::Secret" else StandIn


def _given(_: CloudFormationBackend, instance: Any, incoming_params: list[dict[str, str]]) -> dict[str, str]:
    """Of an update. moto looks for the values before of all others, and has none of those that had their default."""
    return {each["ParameterKey"]: each["ParameterValue"] for each in incoming_params if "ParameterValue" in each}


if __name__ == "__main__":
    CloudFormationBackend._resolve_update_parameters = _given  # type: ignore[method-assign, assignment]
    parsing.resource_class_from_type = _class_of
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
