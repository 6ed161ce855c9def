"""Rules of cdk-nag that this deployment does not follow, each with its reason. What is not here fails the synthesis."""

import aws_cdk as cdk

from infra.stage import Stage

_AWS_POLICY = "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{}]"
_WILDCARD = "AwsSolutions-IAM5[Resource::{}]"
_LOGS = "Writes the function's own logs, and the network interfaces that Lambda makes for it; AWS keeps it up to date."

_RULES = {
    "AwsSolutions-APIG2": "The application validates requests; one rule for all paths could not.",
    "AwsSolutions-APIG3": "A web ACL is a choice of the stage (`web_acl`): it costs by the month and the request.",
    "AwsSolutions-APIG4": "The application asks for a key of its own, the same at every front door.",
    "AwsSolutions-COG4": "The application asks for a key of its own, the same at every front door.",
    "AwsSolutions-EC23": "Open is what the stage says is public, on the load balancer's ports; else the VPC's range.",
    "AwsSolutions-ECS2": "The environment has no secrets: HEADWATER_SECRETS_ARN says where they are.",
    "AwsSolutions-ELB2": "The application logs every request with what the load balancer's trace id says, and more.",
    "AwsSolutions-RDS10": "The stage says whether it keeps its data (`keeps_data`).",
    "AwsSolutions-SMG4": "Its keys are changed where they are made: at the upstream, and the admin key by hand.",
    "AwsSolutions-SQS3": "It is itself the queue for what could not be delivered.",
    _AWS_POLICY.format("service-role/AWSLambdaBasicExecutionRole"): _LOGS,
    _AWS_POLICY.format("service-role/AWSLambdaVPCAccessExecutionRole"): _LOGS,
    _AWS_POLICY.format(
        "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
    ): "What API Gateway asks for, once a region.",
    _AWS_POLICY.format("service-role/AWSCodeDeployRoleForLambdaLimited"): "What CodeDeploy asks for to move an alias.",
    _AWS_POLICY.format("AWSLambdaManagedEC2ResourceOperator"): "What Lambda asks for to run instances.",
    _WILDCARD.format("*"): "X-Ray's actions, the delivery of logs and the registry's log-in know no resources.",
    _WILDCARD.format(
        "arn:<AWS::Partition>:bedrock:*::foundation-model/anthropic.*"
    ): "Every Anthropic model is offered.",
    _WILDCARD.format(
        "arn:<AWS::Partition>:bedrock:*:<AWS::AccountId>:inference-profile/*.anthropic.*"
    ): "Every Anthropic model is offered, by the profiles of all regions.",
}
_OF_STAGE = {
    "ecs:<AWS::Region>:<AWS::AccountId>:task/{}/*": "A task's id is not known before it runs.",
    "ecs:<AWS::Region>:<AWS::AccountId>:task-definition/{}:*": "Each deployment makes a revision of its own.",
    "lambda:<AWS::Region>:<AWS::AccountId>:function:{}:*": "Each deployment makes a version of its own.",
    "states:<AWS::Region>:<AWS::AccountId>:execution:{}-batches:*": "Executions have the names of their batches.",
}


def acknowledge(app: cdk.App, *, settings: Stage) -> None:
    rules = dict(_RULES)
    for resource, reason in _OF_STAGE.items():
        rules[_WILDCARD.format(f"arn:<AWS::Partition>:{resource.format(settings.prefix)}")] = reason
    acknowledged = [cdk.Acknowledgment(id=f"AwsSolutions::{id}", reason=reason) for id, reason in rules.items()]
    published = cdk.Acknowledgment(
        id="Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish", reason="Only the alias is ever invoked."
    )
    cdk.Validations.of(app).acknowledge(*acknowledged, published)
