import json
from pathlib import Path
from typing import Any

import pytest

from infra import stage
from infra.commands.__main__ import STACKS
from tests.infra.conftest import FIRST, Templates
from tests.infra.templates import asynchronous, has, image_functions, only, resources, text


def _streaming(templates: Templates) -> dict[str, Any]:
    return next(each for each in image_functions(templates["Lambda"]) if "FunctionName" in each)


def test_the_function_is_the_image_for_arm_with_the_longest_time_there_is(dev: Templates) -> None:
    function = _streaming(dev)

    assert has(
        function,
        {"PackageType": "Image", "Architectures": ["arm64"], "Timeout": 900, "TracingConfig": {"Mode": "Active"}},
    )
    assert text(function["Code"]["ImageUri"]).endswith(f"@{FIRST}")


def test_the_function_streams_and_knows_its_home_itself_and_its_secrets(dev: Templates) -> None:
    variables = _streaming(dev)["Environment"]["Variables"]

    assert has(
        variables,
        {
            "AWS_LWA_INVOKE_MODE": "response_stream",
            "HEADWATER_HOME": "lambda",
            "HEADWATER_DATABASE_AUTH": "iam",
            "HEADWATER_POOL_MIN": "0",
            "HEADWATER_POOL_MAX": "2",
        },
    )
    assert text(variables["HEADWATER_BACKGROUND_FUNCTION"]).endswith("function:headwater-dev:live")
    assert "SettingsSecret" in text(variables["HEADWATER_SECRETS_ARN"])


def test_the_rest_api_streams_for_fifteen_minutes_and_is_regional(dev: Templates) -> None:
    api = only(dev["Lambda"], "AWS::ApiGateway::RestApi")
    methods = [each["Properties"] for each in resources(dev["Lambda"], "AWS::ApiGateway::Method").values()]

    assert api["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    assert [each["HttpMethod"] for each in methods] == ["ANY", "ANY"]
    for each in methods:
        assert has(each["Integration"], {"ResponseTransferMode": "STREAM", "TimeoutInMillis": 900_000})
        uri = text(each["Integration"]["Uri"])
        assert uri.endswith("/response-streaming-invocations")
        assert "StreamingLive" in uri, "the alias, not the newest code"


def test_links_have_the_prefix_of_the_api_stage(dev: Templates) -> None:
    public_url = text(_streaming(dev)["Environment"]["Variables"]["HEADWATER_PUBLIC_URL"])
    name = only(dev["Lambda"], "AWS::ApiGateway::Stage")["StageName"]

    assert public_url.startswith("https://<RestApi")
    assert public_url.endswith(f"<AWS::URLSuffix>/{name}")


def test_the_access_log_has_no_query_strings(everything: Templates) -> None:
    formats = [
        json.loads(each["Properties"]["AccessLogSetting" if version == "v1" else "AccessLogSettings"]["Format"])
        for version, kind in (("v1", "AWS::ApiGateway::Stage"), ("v2", "AWS::ApiGatewayV2::Stage"))
        for each in resources(everything["Lambda"], kind).values()
    ]

    assert len(formats) == 2
    for each in formats:
        assert each["path"] == "$context.path"
        assert not any("query" in value.lower() for value in each.values())


def test_a_function_url_streams_from_the_alias_for_callers_that_sign(everything: Templates) -> None:
    url = only(everything["Lambda"], "AWS::Lambda::Url")

    assert has(url, {"InvokeMode": "RESPONSE_STREAM", "AuthType": "AWS_IAM", "Qualifier": "live"})
    assert not any(
        each["Properties"]["Principal"] == "*"
        for each in resources(everything["Lambda"], "AWS::Lambda::Permission").values()
    )


def test_a_stage_has_snapstart_or_provisioned_concurrency(stages: dict[str, Templates]) -> None:
    def provisioned(templates: Templates) -> bool:
        return bool(resources(templates["Lambda"], "AWS::ApplicationAutoScaling::ScalableTarget"))

    assert {name: _streaming(each).get("SnapStart") for name, each in stages.items()} == {
        "dev": {"ApplyOn": "PublishedVersions"},
        "prod": None,
        "everything": {"ApplyOn": "PublishedVersions"},
    }
    assert {name: provisioned(each) for name, each in stages.items()} == {
        "dev": False,
        "prod": True,
        "everything": False,
    }


def test_provisioned_concurrency_follows_use_and_the_clock(prod: Templates) -> None:
    target = only(prod["Lambda"], "AWS::ApplicationAutoScaling::ScalableTarget")
    policy = only(prod["Lambda"], "AWS::ApplicationAutoScaling::ScalingPolicy")

    assert has(
        target,
        {
            "ScalableDimension": "lambda:function:ProvisionedConcurrency",
            "MinCapacity": 2,
            "MaxCapacity": 50,
        },
    )
    assert [
        (each["Schedule"], each["Timezone"], each["ScalableTargetAction"]["MinCapacity"])
        for each in target["ScheduledActions"]
    ] == [
        ("cron(45 7 ? * MON-FRI *)", "Etc/UTC", 10),
        ("cron(0 20 ? * MON-FRI *)", "Etc/UTC", 2),
    ]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 0.7


def test_versions_before_are_deleted(stages: dict[str, Templates]) -> None:
    for templates in stages.values():
        versions = resources(templates["Lambda"], "AWS::Lambda::Version").values()
        assert versions
        assert {each["DeletionPolicy"] for each in versions} == {"Delete"}


def test_concurrency_is_reserved_where_the_stage_says_so(dev: Templates, prod: Templates) -> None:
    assert "ReservedConcurrentExecutions" not in _streaming(dev)
    assert _streaming(prod)["ReservedConcurrentExecutions"] == 400


def test_traffic_moves_gradually_and_back_on_alarms(prod: Templates) -> None:
    group = only(prod["Lambda"], "AWS::CodeDeploy::DeploymentGroup")
    aliases = resources(prod["Lambda"], "AWS::Lambda::Alias")
    alias = next(each for id, each in aliases.items() if id.startswith("StreamingLive"))
    alarms = {text(each["Name"]) for each in group["AlarmConfiguration"]["Alarms"]}

    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    assert group["AutoRollbackConfiguration"] == {
        "Enabled": True,
        "Events": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_REQUEST", "DEPLOYMENT_STOP_ON_ALARM"],
    }
    kinds = {"errorrate", "apierrors", "interruptedstreams"}
    assert len(alarms) == len(kinds)
    assert kinds == {kind for kind in kinds for name in alarms if kind in name}
    assert "CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"]


def test_each_minute_an_alias_that_tries_once_is_told_to_maintain(dev: Templates) -> None:
    rule = only(dev["Lambda"], "AWS::Events::Rule")
    (target,) = rule["Targets"]

    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert json.loads(target["Input"]) == {"headwater": "maintenance"}
    assert "StreamingMaintenance" in text(target["Arn"])
    maintenance = asynchronous(dev["Lambda"], "StreamingFunction", "StreamingMaintenance")
    assert has(maintenance, {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60})
    assert "DestinationConfig" not in maintenance, "the queue is for generations"


def test_background_generations_are_tried_again_and_then_kept_aside(dev: Templates) -> None:
    hand_over = asynchronous(dev["Lambda"], "StreamingFunction", "StreamingLive")

    assert has(hand_over, {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 300})
    assert "Undelivered" in text(hand_over["DestinationConfig"]["OnFailure"]["Destination"])


def test_aliases_move_only_after_the_migrations(stages: dict[str, Templates]) -> None:
    for templates in stages.values():
        template = templates["Lambda"]
        (migrations,) = resources(template, "Custom::Migrations").items()
        aliases = resources(template, "AWS::Lambda::Alias")
        streaming = [each for id, each in aliases.items() if id.startswith("Streaming")]

        assert len(streaming) == 2
        assert all(migrations[0] in each["DependsOn"] for each in streaming)
        assert migrations[1]["Properties"]["Version"] == {"Ref": _version(template)}


def test_migrations_that_failed_are_not_tried_behind_the_back_of_the_deployment(dev: Templates) -> None:
    for stack, function in (("Lambda", "StreamingMigrationsFunction"), ("Fargate", "MigrationsFunction")):
        (run,) = resources(dev[stack], "Custom::Migrations").values()
        configured = next(
            id for id in resources(dev[stack], "AWS::Lambda::EventInvokeConfig") if id.startswith(function)
        )

        assert asynchronous(dev[stack], function, "$LATEST")["MaximumRetryAttempts"] == 0
        assert configured in run["DependsOn"]


def _version(template: dict[str, Any]) -> str:
    return next(id for id in resources(template, "AWS::Lambda::Version") if id.startswith("Streaming"))


def test_the_buffered_function_is_behind_an_http_api(everything: Templates) -> None:
    integration = only(everything["Lambda"], "AWS::ApiGatewayV2::Integration")
    function = next(each for each in image_functions(everything["Lambda"]) if "FunctionName" not in each)

    assert has(integration, {"IntegrationType": "AWS_PROXY", "PayloadFormatVersion": "2.0"})
    assert "BufferedLive" in text(integration["IntegrationUri"])
    assert function["Timeout"] == 29
    variables = function["Environment"]["Variables"]
    assert "AWS_LWA_INVOKE_MODE" not in variables
    assert text(variables["HEADWATER_STREAMING_URL"]).endswith("/api"), "whoever asks it for a stream is told where"
    assert "StreamingLive" in text(variables["HEADWATER_BACKGROUND_FUNCTION"])


def test_managed_instances_take_many_streams_at_once(everything: Templates) -> None:
    function = only(everything["ManagedInstances"], "AWS::Lambda::Function")
    provider = function["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]

    assert provider["PerExecutionEnvironmentMaxConcurrency"] == 64
    assert has(only(everything["ManagedInstances"], "AWS::Lambda::Url"), {"AuthType": "AWS_IAM"})


def test_managed_instances_come_behind_the_home_that_migrates_and_maintains(
    written: Path, everything: Templates
) -> None:
    stacks = json.loads((written / "everything" / "manifest.json").read_text())["artifacts"]

    assert everything["ManagedInstances"]
    assert "Lambda" in stacks["ManagedInstances"]["dependencies"]
    assert "Lambda" in STACKS["managed-instances"]


def test_managed_instances_and_power_tuning_are_there_only_when_asked_for(dev: Templates) -> None:
    assert set(dev) == {"Shared", "Lambda", "Workflow", "Fargate", "Comparison"}


def test_power_tuning_may_call_only_the_function_that_it_tunes(everything: Templates) -> None:
    application = only(everything["PowerTuning"], "AWS::Serverless::Application")

    assert application["Location"]["SemanticVersion"] == "4.4.0"
    assert text(application["Parameters"]["lambdaResource"]).endswith(":function:headwater-everything*")


def test_the_web_acl_looks_at_addresses_and_never_into_bodies(prod: Templates) -> None:
    for home in ("Lambda", "Fargate"):
        rules = only(prod[home], "AWS::WAFv2::WebACL")["Rules"]

        assert [each["Name"] for each in rules] == ["flood", "bad-addresses"]
        assert only(prod[home], "AWS::WAFv2::WebACLAssociation")


def test_a_stage_without_a_way_in_is_refused() -> None:
    with pytest.raises(ValueError, match="REST API or a Function URL"):
        stage.Stage(name="closed", lambda_home=stage.LambdaHome(rest_api=False))
