"""The state machine in a template, with its ARNs written out as CloudFormation would."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from local.aws_lambda.function import ACCOUNT, REGION
from local.errors import LaunchError

_KIND: Final = "AWS::StepFunctions::StateMachine"
_HERE: Final = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    definition: str
    """Amazon States Language."""

    @property
    def arn(self) -> str:
        return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{self.name}"


def machine_of(template: Path) -> Machine:
    """The one that it describes.

    Raises:
        LaunchError: the template is not there, or describes none that can be run here.
    """
    try:
        resources = json.loads(template.read_text())["Resources"].values()
        (found,) = (each["Properties"] for each in resources if each["Type"] == _KIND)
        return Machine(_text(found["StateMachineName"]), _text(found["DefinitionString"]))
    except FileNotFoundError as error:
        raise LaunchError(f"There is no template {template}: `make run-workflow` writes it.") from error
    except (ValueError, KeyError) as error:
        raise LaunchError(f"The template {template} describes no state machine that can be run here.") from error


def _text(value: Any) -> str:
    """Raises: ValueError, KeyError: it refers to something that is not known before a deployment."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return _HERE[name]
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(map(_text, parts))
        case _:
            raise ValueError(value)
