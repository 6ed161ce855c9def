"""The recommendation with its reasons, from one's own numbers, from a run and from CloudWatch."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from click.testing import CliRunner, Result

from app.observability.names import NAMESPACE, Metric
from compare.__main__ import main
from compare.cost import cloudwatch, measured, rules_of_thumb
from compare.cost.answer import Answer, answer
from compare.cost.deployment import Deployment, OnFargate, OnLambda
from compare.cost.plan import plan
from compare.cost.prices import load
from compare.cost.workload import Workload
from tests.support.compare_results import results, target

DOCUMENT = Path(__file__).parents[2] / "docs" / "compare.md"
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def told(workload: Workload, deployment: Deployment | None = None) -> Answer:
    return answer(deployment or Deployment(), workload, load("us-east-1"))


def cost(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cost", *arguments])


def test_the_cheapest_home_is_recommended_with_its_sum() -> None:
    few = told(Workload(streams_per_hour=10, stream_seconds=10))
    assert few.choice == "lambda"
    assert few.sentence.startswith(f"Lambda: ${few.bills[0].usd:,.2f} a month for 10 streams an hour of 10 s")
    assert told(Workload(streams_per_hour=5000, stream_seconds=30)).choice == "fargate"


def test_one_home_alone_is_compared_to_nothing() -> None:
    alone = answer(Deployment(), Workload(streams_per_hour=10, stream_seconds=10), load("us-east-1"), ("lambda",))
    assert alone.sentence.endswith("a month for 10 streams an hour of 10 s.")


def test_longer_streams_turn_the_answer() -> None:
    assert told(Workload(streams_per_hour=500, stream_seconds=2)).choice == "lambda"
    assert told(Workload(streams_per_hour=500, stream_seconds=60)).choice == "fargate"


def test_streams_over_15_minutes_have_one_home() -> None:
    long = told(Workload(streams_per_hour=1, stream_seconds=60, longest_seconds=1200))

    assert long.choice == "fargate"
    assert "only Fargate can carry them" in long.reasons[0]
    assert long.flips == []
    assert {home for row in long.map.cheapest for home in row} == {"fargate"}
    assert {(each.first, len(each.flips)) for each in long.by_length} == {("fargate", 0)}


@pytest.mark.parametrize(
    ("workload", "on_lambda", "words"),
    [
        (Workload(streams_per_hour=2), OnLambda(), "Lambda costs no more than its snapshot then"),
        (Workload(streams_per_hour=2), OnLambda(snapstart=False), "Lambda costs nothing then"),
        (Workload(streams_per_hour=2), OnLambda(provisioned=1), "Lambda costs what is kept ready then"),
        (Workload(streams_per_hour=900, peak=1.5), OnLambda(), "The traffic is steady"),
        (Workload(peak=8), OnLambda(), "The busiest hour has 8 times the mean"),
        (Workload(streams_per_hour=200_000), OnLambda(), "more than the 1000 environments"),
        (Workload(), OnLambda(provisioned=10), "Provisioned concurrency is"),
        (Workload(streams_per_hour=10), OnLambda(), "wait for an environment to be restored from a snapshot"),
        (Workload(streams_per_hour=10), OnLambda(snapstart=False), "wait for an environment to be started"),
    ],
)
def test_signals_of_the_traffic_are_told(workload: Workload, on_lambda: OnLambda, words: str) -> None:
    with_signal = told(workload, Deployment(on_lambda=on_lambda))
    without = told(Workload(streams_per_hour=2000, stream_seconds=60, peak=2.5))

    assert any(words in text for text in [*with_signal.reasons, *with_signal.would_change])
    assert not any(words in text for text in [*without.reasons, *without.would_change])


def test_flips_of_a_length_are_looked_for_at_each_step_too() -> None:
    tasks = OnFargate(streams_per_task=1, headroom=0, least=1, addresses=0)
    function = OnLambda(memory=512, snapstart=False, front_door="function_url")
    whole = told(Workload(stream_seconds=300, peak=1), Deployment(on_lambda=function, on_fargate=tasks))
    [same] = [each for each in whole.by_length if each.seconds == 300]

    assert len(same.flips) > 2
    assert same.flips == whole.flips


def test_the_map_agrees_with_the_bills() -> None:
    whole = told(Workload(streams_per_hour=300, stream_seconds=20))

    for row, column in ((0, 0), (20, 30), (47, 47)):
        workload = Workload(streams_per_hour=whole.map.streams_per_hour[column], stream_seconds=whole.map.seconds[row])
        assert whole.map.cheapest[row][column] == told(workload).choice


def test_a_plan_may_say_everything(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        "[traffic]\nstreams_per_hour = 7\n[deployment.lambda]\nmemory = 2048\n[deployment.fargate]\nvcpu = 2\n"
    )

    made = plan(file)

    assert made.traffic == Workload(streams_per_hour=7)
    assert made.deployment == Deployment(on_lambda=OnLambda(memory=2048), on_fargate=OnFargate(vcpu=2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[traffic]\npeek = 3", "unknown field `peek`"),
        ("[traffic]\npeak = 0.5", "peak has to be from 1 to 24"),
        ("[deployment.lambda]\nmemory = 64", "from 128 to 10240"),
        ('[deployment.lambda]\nfront_door = "http_api"', "does not stream"),
        ("[deployment.fargate]\nheadroom = 1.0", "headroom is a share"),
        ("[traffic", "plan.toml"),
    ],
)
def test_a_wrong_plan_is_told(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(content)
    result = cost("--plan", str(file))

    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


def test_options_go_before_the_plan(tmp_path: Path) -> None:
    file, written = tmp_path / "plan.toml", tmp_path / "answer.json"
    file.write_text("[traffic]\nstreams_per_hour = 7\nstream_seconds = 3")
    result = cost("--plan", str(file), "--streams-per-hour", "9", "--provisioned", "2", "--json", str(written))

    assert result.exit_code == 0, result.output
    whole = msgspec.json.decode(written.read_bytes(), type=Answer)
    assert (whole.workload.streams_per_hour, whole.workload.stream_seconds) == (9, 3)
    assert whole.deployment.on_lambda.provisioned == 2
    assert whole.sentence in result.output


def test_a_plan_goes_before_the_rate_of_a_run() -> None:
    assert measured.workload(results(), Workload(streams_per_hour=7)).streams_per_hour == 7
    assert measured.workload(results(), Workload(peak=2)).streams_per_hour == 900


@pytest.mark.parametrize(("home", "held"), [("fargate", 150), (None, 200), ("local", 200)])
def test_a_task_holds_what_a_target_held_that_says_it_is_one(home: str | None, held: int) -> None:
    # 60 streams took 0.2 cores, and a task has half a core.
    run = results(target("a", 330, home))

    assert measured.deployment(run, Deployment()).on_fargate.streams_per_task == held


def series(id: str, values: dict[int, float]) -> dict[str, Any]:
    """Values by the hour, as the AWS command line prints them."""
    return {
        "Id": id,
        "Label": id,
        "Timestamps": [(BEGAN + timedelta(hours=hour)).isoformat() for hour in values],
        "Values": list(values.values()),
        "StatusCode": "Complete",
    }


def test_an_export_of_cloudwatch_gives_length_and_hours(tmp_path: Path) -> None:
    found = [
        series("lambda_streams", {0: 100, 3: 300}),
        series("lambda_seconds", {0: 1_000_000, 3: 3_000_000}),
        series("lambda_longest", {0: 40_000, 3: 61_000}),
        series("lambda_cold", {0: 1, 3: 1}),
        series("lambda_restored", {3: 2}),
        series("fargate_streams", {1: 100}),
        series("fargate_seconds", {1: 2_000_000}),
        series("fargate_longest", {1: 50_000}),
    ]
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"MetricDataResults": found, "Messages": []}))

    workload = cloudwatch.workload(file, Workload())

    assert list(workload.hours) == [100, 100, 0, 300]
    assert workload.streams_per_hour == 125
    assert workload.stream_seconds == 12  # 6,000 s of 500 streams
    assert workload.busiest == 2.4
    assert workload.cold_share == 0.01  # 4 of the 400 on Lambda
    assert workload.longest_seconds == 61
    assert cost("--cloudwatch", str(file)).exit_code == 0


@pytest.mark.parametrize(("content", "words"), [("{}", "no answer of"), ('{"MetricDataResults": []}', "less than two")])
def test_what_is_no_export_is_told(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(content)
    result = cost("--cloudwatch", str(file))

    assert result.exit_code == 1
    assert words in result.output


def test_the_queries_ask_for_metrics_that_there_are() -> None:
    queries = json.loads(cloudwatch.QUERIES.read_text())

    asked = [query["MetricStat"] for query in queries if "MetricStat" in query]
    assert {each["Metric"]["Namespace"] for each in asked} == {NAMESPACE}
    assert {each["Metric"]["MetricName"] for each in asked} <= set(Metric)
    assert len({query["Id"] for query in queries}) == len(queries)
    assert all(each["Period"] == 3600 for each in asked)


def test_hours_without_streams_are_asked_for_too() -> None:
    queries = {query["Id"]: query for query in json.loads(cloudwatch.QUERIES.read_text())}

    for home in ("lambda", "fargate"):
        assert queries[f"{home}_streams"]["Expression"] == f"FILL({home}_counted, 0)"
        assert queries[f"{home}_counted"]["MetricStat"]["Stat"] == "SampleCount"
        assert not queries[f"{home}_counted"]["ReturnData"]


def test_silence_at_both_ends_of_an_export_counts(tmp_path: Path) -> None:
    found = [series("lambda_streams", {0: 0, 1: 0, 2: 90, 3: 0}), series("lambda_seconds", {2: 900_000})]
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"MetricDataResults": found}))

    workload = cloudwatch.workload(file, Workload())

    assert list(workload.hours) == [0, 0, 90, 0]
    assert workload.streams_per_hour == 22.5
    assert workload.stream_seconds == 10


def test_aws_would_take_the_queries() -> None:
    shape = botocore.session.get_session().get_service_model("cloudwatch").operation_model("GetMetricData").input_shape
    asked = {"MetricDataQueries": json.loads(cloudwatch.QUERIES.read_text()), "StartTime": BEGAN, "EndTime": BEGAN}

    report = ParamValidator().validate(asked, shape)

    assert not report.has_errors(), report.generate_report()


def test_the_document_has_the_rules_of_thumb_as_they_are_worked_out() -> None:
    assert rules_of_thumb.markdown(load("us-east-1")) in DOCUMENT.read_text()
