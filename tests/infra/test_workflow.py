import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import stage
from infra.app import build
from infra.commands.__main__ import stacks_of
from tests.infra.conftest import FIRST, Templates
from tests.infra.templates import has, image_functions, only, resources, text

_KIND = "AWS::StepFunctions::StateMachine"
_MACHINE = "stateMachine:headwater-dev-batches"
_TOKENS = {"states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"}


def _definition(templates: Templates) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(text(only(templates["Workflow"], _KIND)["DefinitionString"]))
    return definition


def _tasks(states: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Also those of the items."""
    for name, state in states.items():
        if state["Type"] == "Task":
            yield name, state
        if state["Type"] == "Map":
            yield from _tasks(state["ItemProcessor"]["States"])


def _statements(template: dict[str, Any], policy: str) -> list[tuple[set[str], str]]:
    """Actions and resource of each, of the policies whose ids begin so."""
    return [
        (set(each["Action"]) if isinstance(each["Action"], list) else {each["Action"]}, text(each["Resource"]))
        for id, found in resources(template, "AWS::IAM::Policy").items()
        if id.startswith(policy)
        for each in found["Properties"]["PolicyDocument"]["Statement"]
    ]


def test_every_task_invokes_the_alias_with_an_event_and_is_tried_again_with_full_jitter(dev: Templates) -> None:
    tasks = dict(_tasks(_definition(dev)["States"]))

    events = {name: task["Parameters"].get("Payload", task["Parameters"])["headwater"] for name, task in tasks.items()}
    assert events == {
        "Plan": "batch_plan",
        "Item": "batch_item",
        "Item failed": "batch_item_failed",
        "Settle": "batch_settle",
        "Approval": "batch_wait",
        "Approval timed out": "batch_timed_out",
        "Pause": "batch_wait",
    }
    for task in tasks.values():
        event = task["Parameters"].get("Payload", task["Parameters"])
        assert has(event, {"batch_id.$": "$.batch_id", "round.$": "$.round"})
        function = task["Parameters"].get("FunctionName", task["Resource"])
        assert function.endswith(":function:headwater-dev-batches:live")
        (*_, last) = task["Retry"]
        assert has(last, {"ErrorEquals": ["States.ALL"], "JitterStrategy": "FULL", "MaxDelaySeconds": 60})


def test_what_lambda_throttles_has_not_failed(dev: Templates) -> None:
    item = dict(_tasks(_definition(dev)["States"]))["Item"]
    throttled, other = item["Retry"]

    assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
    assert throttled["MaxAttempts"] * throttled["MaxDelaySeconds"] / 2 > 24 * 3600, "a day on the average"
    assert throttled["MaxAttempts"] * 3 < 25_000, "of the events that a history may have"
    assert other["MaxAttempts"] == 12


def test_items_have_executions_of_their_own_and_one_that_says_stop_ends_the_map(dev: Templates) -> None:
    items = _definition(dev)["States"]["Items"]

    assert items["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert has(items["ItemSelector"], {"batch_id.$": "$.batch_id", "round.$": "$.round"})
    assert items["MaxConcurrencyPath"] == "$.plan.parallelism"
    assert not [key for key in items if key.startswith("ToleratedFailure")], "the first one"
    assert items["ItemProcessor"]["States"]["Stopped"]["Type"] == "Fail"
    assert items["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Settle"}]
    # The outputs of 10,000 items have to fit into 256 KB.
    assert items["ItemProcessor"]["States"]["Item done"]["OutputPath"] is None


def test_how_long_it_waits_is_the_applications_to_say(dev: Templates) -> None:
    states = _definition(dev)["States"]

    assert states["Items"]["ItemProcessor"]["States"]["Overload"]["SecondsPath"] == "$.answer.seconds"
    assert has(states["Approval"], {"TimeoutSecondsPath": "$.next.seconds", "HeartbeatSecondsPath": "$.next.heartbeat"})
    assert has(states["Pause"], {"TimeoutSecondsPath": "$.next.seconds"})


def test_a_refusal_is_no_failure_that_would_be_tried_again(dev: Templates) -> None:
    for name in ("Approval", "Pause"):
        wait = _definition(dev)["States"][name]
        first, _, last = wait["Retry"]

        assert {"Rejected", "Cancelled", "States.Timeout"} < set(first["ErrorEquals"])
        assert first["MaxAttempts"] == 0
        assert last["ErrorEquals"] == ["States.ALL"]
        assert {"Rejected", "Cancelled"} <= set(wait["Catch"][0]["ErrorEquals"])
        assert wait["Catch"][0]["Next"] == "Settle"


def test_tokens_are_in_no_log(dev: Templates) -> None:
    machine = only(dev["Workflow"], _KIND)

    assert has(machine["LoggingConfiguration"], {"IncludeExecutionData": False, "Level": "ALL"})
    assert machine["TracingConfiguration"] == {"Enabled": True}


def test_the_machine_may_invoke_the_alias_and_run_executions_of_its_own_and_nothing_else(dev: Templates) -> None:
    statements = _statements(dev["Workflow"], "Role")

    assert [(actions, resource.rpartition("<AWS::AccountId>:")[2]) for actions, resource in statements[:-1]] == [
        ({"lambda:InvokeFunction"}, "function:headwater-dev-batches:live"),
        ({"states:StartExecution"}, _MACHINE),
        ({"states:DescribeExecution", "states:StopExecution"}, "execution:headwater-dev-batches:*"),
    ]
    everywhere, resource = statements[-1]
    assert resource == "*"
    assert {action.partition(":")[0] for action in everywhere} == {"logs", "xray"}


@pytest.mark.parametrize(
    ("stack", "policy"),
    [
        ("Lambda", "StreamingFunction"),
        ("Lambda", "Buffered"),
        ("Workflow", "WorkFunction"),
        ("Fargate", "TaskDefinition"),
    ],
)
def test_homes_may_start_executions_look_at_them_and_end_their_waits(
    everything: Templates, stack: str, policy: str
) -> None:
    statements = _statements(everything[stack], policy)
    machine = _MACHINE.replace("dev", "everything")
    states = [(actions, resource) for actions, resource in statements if next(iter(actions)).startswith("states:")]

    assert [(actions, resource.rpartition("<AWS::AccountId>:")[2]) for actions, resource in states] == [
        (_TOKENS | {"states:StartExecution"}, machine),
        ({"states:DescribeExecution"}, "execution:headwater-everything-batches:*"),
    ]


def test_homes_know_the_machine_by_a_name_that_needs_no_reference(everything: Templates) -> None:
    (container,) = only(everything["Fargate"], "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    told = {each["Name"]: each["Value"] for each in container["Environment"]}["HEADWATER_WORKFLOW"]
    functions = [*image_functions(everything["Lambda"]), *image_functions(everything["ManagedInstances"])]

    assert text(told).endswith(":stateMachine:headwater-everything-batches")
    assert len(functions) == 3
    for function in functions:
        assert text(function["Environment"]["Variables"]["HEADWATER_WORKFLOW"]) == text(told)
    assert only(everything["Workflow"], _KIND)["StateMachineName"] == "headwater-everything-batches"


def test_its_function_answers_in_one_piece_and_has_the_longest_time_there_is(dev: Templates) -> None:
    (function,) = image_functions(dev["Workflow"])

    assert has(function, {"FunctionName": "headwater-dev-batches", "Timeout": 900, "Architectures": ["arm64"]})
    assert function["Environment"]["Variables"]["AWS_LWA_INVOKE_MODE"] == "buffered"
    assert "SnapStart" not in function, "a snapshot would cost at rest, and nobody waits for a start"
    aliases = [id for id in resources(dev["Workflow"], "AWS::Lambda::Alias") if id.startswith("Work")]
    (machine,) = resources(dev["Workflow"], _KIND).values()
    assert set(aliases) < set(machine["DependsOn"])


@pytest.mark.parametrize(("name", "most"), [("dev", None), ("prod", 100)])
def test_batches_take_no_more_of_the_quota_than_the_stage_says(
    stages: dict[str, Templates], name: str, most: int | None
) -> None:
    (function,) = image_functions(stages[name]["Workflow"])

    assert function.get("ReservedConcurrentExecutions") == most


def test_it_comes_behind_the_home_that_does_its_work(written: Path, dev: Templates) -> None:
    stacks = json.loads((written / "dev" / "manifest.json").read_text())["artifacts"]

    assert dev["Workflow"]
    assert "Lambda" in stacks["Workflow"]["dependencies"]


def test_a_stage_without_it_has_no_trace_of_it(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = replace(stage.DEV, name="plain", workflow=False)
    monkeypatch.setitem(stage.STAGES, "plain", without)
    build(without, context={"image": FIRST}, outdir=str(written / "plain")).synth()
    templates = {path.name.partition(".")[0]: path.read_text() for path in (written / "plain").glob("*.template.json")}

    assert set(templates) == {"Shared", "Lambda", "Fargate", "Comparison"}
    for template in templates.values():
        assert "headwater-plain-batches" not in template
        assert "HEADWATER_WORKFLOW" not in template
    assert stacks_of(Namespace(what="lambda", stage="plain")) == ["Shared", "Lambda"]
    assert stacks_of(Namespace(what="lambda", stage="dev")) == ["Shared", "Lambda", "Workflow"]
