from typing import Any

import pytest

from infra import stage
from infra.app import build
from tests.infra.conftest import SECOND, Templates
from tests.infra.templates import resources, text


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Types of the resources that one has and the other has not, or has otherwise."""
    ids = set(before["Resources"]) | set(after["Resources"])
    return {
        (before["Resources"].get(id) or after["Resources"][id])["Type"]
        for id in ids
        if before["Resources"].get(id) != after["Resources"].get(id)
    }


def test_another_image_changes_function_version_and_alias_and_nothing_else(
    dev: Templates, dev_with_another_image: Templates
) -> None:
    """The custom resource is what migrates to the new version."""
    assert _changed(dev["Lambda"], dev_with_another_image["Lambda"]) == {
        "AWS::Lambda::Function",
        "AWS::Lambda::Version",
        "AWS::Lambda::Alias",
        "Custom::Migrations",
    }
    (before,) = resources(dev["Lambda"], "AWS::Lambda::Version")
    (after,) = resources(dev_with_another_image["Lambda"], "AWS::Lambda::Version")
    assert before != after, "a new version, not the old one with other contents"


def test_another_image_changes_the_task_definition_and_nothing_else(
    dev: Templates, dev_with_another_image: Templates
) -> None:
    assert _changed(dev["Fargate"], dev_with_another_image["Fargate"]) == {"AWS::ECS::TaskDefinition"}


def test_another_image_leaves_what_the_homes_stand_on_alone(dev: Templates, dev_with_another_image: Templates) -> None:
    for stack in ("Shared", "Comparison"):
        assert not _changed(dev[stack], dev_with_another_image[stack])


def test_another_secret_starts_new_processes_in_both_homes(dev: Templates, dev_with_another_secret: Templates) -> None:
    assert {"AWS::Lambda::Version", "AWS::Lambda::Alias"} <= _changed(dev["Lambda"], dev_with_another_secret["Lambda"])
    assert _changed(dev["Fargate"], dev_with_another_secret["Fargate"]) == {"AWS::ECS::TaskDefinition"}
    assert not _changed(dev["Shared"], dev_with_another_secret["Shared"])


def test_both_homes_run_one_image(dev_with_another_image: Templates) -> None:
    (task,) = resources(dev_with_another_image["Fargate"], "AWS::ECS::TaskDefinition").values()
    (container,) = task["Properties"]["ContainerDefinitions"]
    functions = resources(dev_with_another_image["Lambda"], "AWS::Lambda::Function").values()
    images = {
        text(each["Properties"]["Code"]["ImageUri"]) for each in functions if "ImageUri" in each["Properties"]["Code"]
    }

    assert images == {text(container["Image"])}
    assert text(container["Image"]).endswith(f"@{SECOND}")


def test_a_tag_is_no_name_for_an_image() -> None:
    with pytest.raises(ValueError, match="digest"):
        build(stage.DEV, context={"image": "latest"})
