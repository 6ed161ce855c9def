"""How the homes know the state machine of batches, which is deployed after them: by its name."""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam

from infra.stage import Stage


def machine_name(settings: Stage) -> str:
    return f"{settings.prefix}-batches"


def machine_arn(stack: Stack, settings: Stage) -> str:
    return _arn(stack, "stateMachine", machine_name(settings))


def executions_arn(stack: Stack, settings: Stage) -> str:
    """All of them; their names are the batches'."""
    return _arn(stack, "execution", f"{machine_name(settings)}:*")


def grant_workflow(role: iam.IRole, *, settings: Stage, stack: Stack) -> None:
    """To start the execution of a batch, to look whether it still runs, and to end its waits."""
    if not settings.workflow:
        return
    on_machine = [
        "states:StartExecution",
        "states:SendTaskSuccess",
        "states:SendTaskFailure",
        "states:SendTaskHeartbeat",
    ]
    for actions, resource in (
        (on_machine, machine_arn(stack, settings)),
        (["states:DescribeExecution"], executions_arn(stack, settings)),
    ):
        role.add_to_principal_policy(iam.PolicyStatement(actions=actions, resources=[resource]))


def _arn(stack: Stack, resource: str, name: str) -> str:
    return stack.format_arn(
        service="states", resource=resource, resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
