import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import Templates
from tests.infra.templates import has, only, resources, text

_OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
EXPECTED = {
    "Shared": {"proxy-borrow-latency", "proxy-pinned-connections", "database-capacity"},
    "Lambda": {
        "lambda-error-rate",
        "lambda-throttles",
        "lambda-duration",
        "lambda-concurrency",
        "lambda-background",
        "lambda-maintenance",
        "lambda-api-errors",
        "lambda-first-token",
        "lambda-interrupted-streams",
        "lambda-recorder-backlog",
        "lambda-spend",
    },
    "Fargate": {
        "fargate-error-rate",
        "fargate-load-balancer-errors",
        "fargate-unhealthy-tasks",
        "fargate-duration",
        "fargate-concurrency",
        "fargate-first-token",
        "fargate-interrupted-streams",
        "fargate-recorder-backlog",
        "fargate-spend",
    },
    "Workflow": {"workflow-failed"},
}


def _metric(alarm: dict[str, Any]) -> dict[str, Any]:
    """The first one that it looks at."""
    if "Metrics" not in alarm:
        return alarm
    statistics: dict[str, Any] = next(each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each)
    return {**statistics["Metric"], "Statistic": statistics["Stat"]}


def _alarms(templates: Templates, stack: str) -> dict[str, dict[str, Any]]:
    prefix = "headwater-dev-"
    return {
        each["Properties"]["AlarmName"].removeprefix(prefix): each["Properties"]
        for each in resources(templates[stack], "AWS::CloudWatch::Alarm").values()
    }


@pytest.mark.parametrize("stack", EXPECTED)
def test_everything_that_goes_wrong_has_an_alarm_that_tells_somebody_what_to_do(dev: Templates, stack: str) -> None:
    alarms = _alarms(dev, stack)

    assert set(alarms) == EXPECTED[stack]
    for name, alarm in alarms.items():
        assert alarm["AlarmDescription"].endswith(f"docs/operations.md#{name}")
        assert "NoticesTopic" in text(alarm["AlarmActions"][0])
        assert alarm["TreatMissingData"] == "notBreaching"


def test_every_alarm_has_its_entry_in_the_operators_handbook(stages: dict[str, Templates]) -> None:
    entries = set(re.findall(r"^### (\S+)$", _OPERATIONS.read_text(), re.MULTILINE))

    for name, templates in stages.items():
        for template in templates.values():
            for each in resources(template, "AWS::CloudWatch::Alarm").values():
                assert each["Properties"]["AlarmName"].removeprefix(f"headwater-{name}-") in entries


def test_what_only_provisioned_concurrency_can_have_is_watched_where_it_is(prod: Templates) -> None:
    names = {each["Properties"]["AlarmName"] for each in resources(prod["Lambda"], "AWS::CloudWatch::Alarm").values()}

    assert "headwater-prod-lambda-spillover" in names


def test_thresholds_follow_from_the_limits_that_they_warn_of(dev: Templates, prod: Templates) -> None:
    assert _alarms(dev, "Lambda")["lambda-duration"]["Threshold"] == 720_000  # 80 % of 900 s
    assert _alarms(dev, "Lambda")["lambda-concurrency"]["Threshold"] == 800  # of the region's 1,000
    assert _alarms(dev, "Fargate")["fargate-duration"]["Threshold"] == 720_000
    reserved = resources(prod["Lambda"], "AWS::CloudWatch::Alarm").values()
    assert [
        each["Properties"]["Threshold"] for each in reserved if each["Properties"]["AlarmName"].endswith("concurrency")
    ] == [320]


def test_own_metrics_are_those_of_a_home(dev: Templates) -> None:
    for stack, home in (("Lambda", "lambda"), ("Fargate", "fargate")):
        metrics = map(_metric, _alarms(dev, stack).values())
        own = [each for each in metrics if each["Namespace"] == "Headwater"]

        assert len(own) >= 4
        assert all(each["Dimensions"] == [{"Name": "home", "Value": home}] for each in own)


def test_the_proxy_is_watched_in_its_own_units(dev: Templates) -> None:
    borrow = _alarms(dev, "Shared")["proxy-borrow-latency"]

    assert has(_metric(borrow), {"MetricName": "DatabaseConnectionsBorrowLatency", "Statistic": "p99"})
    assert borrow["Threshold"] == 100_000, "microseconds"


@pytest.mark.parametrize("stack", ["Lambda", "Fargate", "Comparison"])
def test_a_dashboard_shows_streams_and_alarms(dev: Templates, stack: str) -> None:
    body = text(only(dev[stack], "AWS::CloudWatch::Dashboard")["DashboardBody"])

    widgets = json.loads(re.sub(r"<[^>]*>", "x", body))["widgets"]
    kinds = {each["type"] for each in widgets}
    assert {"alarm", "metric"} <= kinds
    assert "TimeToFirstToken" in body


def test_the_comparison_has_the_homes_beside_each_other(dev: Templates) -> None:
    body = text(only(dev["Comparison"], "AWS::CloudWatch::Dashboard")["DashboardBody"])
    widgets = json.loads(re.sub(r"<[^>]*>", "x", body))["widgets"]

    placed = {each["properties"].get("title"): (each["x"], each["y"]) for each in widgets}
    for graph in ("first token, ms", "open streams", "tokens and cost", "recorder", "failures"):
        of_lambda, of_fargate = placed[f"lambda: {graph}"], placed[f"fargate: {graph}"]
        assert of_lambda[1] == of_fargate[1]
        assert (of_lambda[0], of_fargate[0]) == (0, 12)


def test_what_is_spent_is_told_before_it_is_too_much(dev: Templates) -> None:
    budget = only(dev["Shared"], "AWS::Budgets::Budget")

    assert budget["Budget"]["BudgetLimit"] == {"Amount": 250, "Unit": "USD"}
    assert [each["Notification"]["NotificationType"] for each in budget["NotificationsWithSubscribers"]] == [
        "ACTUAL",
        "FORECASTED",
    ]
    policy = only(dev["Shared"], "AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    allowed = next(each["Principal"]["Service"] for each in policy if each["Effect"] == "Allow")
    assert set(allowed) == {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}


def test_logs_end(stages: dict[str, Templates]) -> None:
    for templates in stages.values():
        groups = [each for stack in templates.values() for each in resources(stack, "AWS::Logs::LogGroup").values()]
        assert groups
        assert all(each["Properties"]["RetentionInDays"] in (30, 90) for each in groups)
