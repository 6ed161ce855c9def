import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.infra.conftest import Templates
from tests.infra.templates import resources, text

_REASONS = Path(__file__).parents[2] / "infra" / "wildcards.toml"
_POLICIES = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role")


def _statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in _POLICIES:
        for each in resources(template, kind).values():
            properties = each["Properties"]
            if "PolicyDocument" in properties:
                yield from properties["PolicyDocument"]["Statement"]
            for policy in properties.get("Policies", []):
                yield from policy["PolicyDocument"]["Statement"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _wildcards(stage: str, templates: Templates) -> Iterator[tuple[str, str]]:
    """Actions and resource of each, an action a pair."""
    for template in templates.values():
        for statement in _statements(template):
            for resource in map(text, _list(statement["Resource"])):
                for action in _list(statement["Action"]):
                    if "*" in resource or "*" in action:
                        yield action, resource.replace(f"headwater-{stage}", "headwater-STAGE")


def test_every_wildcard_has_a_reason_and_every_reason_a_wildcard(stages: dict[str, Templates]) -> None:
    reasons = {
        (action, each["resource"]): each["reason"]
        for each in tomllib.loads(_REASONS.read_text())["wildcard"]
        for action in each["actions"]
    }

    found = {pair for name, templates in stages.items() for pair in _wildcards(name, templates)}
    assert found == set(reasons)
    assert all(reasons.values())


def test_nobody_but_aws_itself_may_take_a_role(stages: dict[str, Templates]) -> None:
    for templates in stages.values():
        for template in templates.values():
            for role in resources(template, "AWS::IAM::Role").values():
                for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                    assert set(statement["Principal"]) == {"Service"}


def test_what_can_have_tags_says_whose_it_is(stages: dict[str, Templates]) -> None:
    for name, templates in stages.items():
        for template in templates.values():
            for id, each in template["Resources"].items():
                tags = each.get("Properties", {}).get("Tags")
                if isinstance(tags, list):
                    assert {"Key": "stage", "Value": name} in tags, id
                elif isinstance(tags, dict):
                    assert tags["stage"] == name, id
