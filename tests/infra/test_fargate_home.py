import json
from typing import Any

import pytest

from infra import stage
from tests.infra.conftest import FIRST, Templates
from tests.infra.templates import has, only, resources, text


def _container(templates: Templates) -> dict[str, Any]:
    (container,) = only(templates["Fargate"], "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert isinstance(container, dict)
    return container


def _attributes(resource: dict[str, Any], name: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in resource[name]}


def _settings(templates: Templates) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in _container(templates)["Environment"]}


def test_a_task_is_the_same_image_for_arm_without_root_or_anything_to_write_to(dev: Templates) -> None:
    container = _container(dev)
    task = only(dev["Fargate"], "AWS::ECS::TaskDefinition")

    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    assert text(container["Image"]).endswith(f"@{FIRST}")
    assert has(container, {"User": "65532:65532", "ReadonlyRootFilesystem": True})


def test_tasks_have_no_public_address_and_only_the_load_balancer_reaches_them(dev: Templates) -> None:
    network = only(dev["Fargate"], "AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    rules = [each["Properties"] for each in resources(dev["Fargate"], "AWS::EC2::SecurityGroupIngress").values()]

    assert network["AssignPublicIp"] == "DISABLED"
    assert all("homesSubnet" in text(each) for each in network["Subnets"])
    assert [(text(each["SourceSecurityGroupId"]), each["FromPort"]) for each in rules] == [
        (text({"Fn::GetAtt": [_group(dev, "FrontDoor"), "GroupId"]}), 8080)
    ]


def _group(templates: Templates, prefix: str) -> str:
    return next(id for id in resources(templates["Fargate"], "AWS::EC2::SecurityGroup") if id.startswith(prefix))


def test_nothing_ends_a_stream_before_its_time(dev: Templates) -> None:
    longest = int(_settings(dev)["HEADWATER_TOTAL_TIMEOUT"])
    balancer = _attributes(only(dev["Fargate"], "AWS::ElasticLoadBalancingV2::LoadBalancer"), "LoadBalancerAttributes")
    group = _attributes(only(dev["Fargate"], "AWS::ElasticLoadBalancingV2::TargetGroup"), "TargetGroupAttributes")

    assert longest == 900
    assert int(balancer["idle_timeout.timeout_seconds"]) > longest
    assert int(group["deregistration_delay.timeout_seconds"]) >= longest
    assert _container(dev)["StopTimeout"] == 120


def test_the_load_balancer_lets_go_of_an_idle_connection_before_the_task_does(dev: Templates) -> None:
    balancer = _attributes(only(dev["Fargate"], "AWS::ElasticLoadBalancingV2::LoadBalancer"), "LoadBalancerAttributes")

    assert int(_settings(dev)["HEADWATER_KEEP_ALIVE"]) > int(balancer["idle_timeout.timeout_seconds"])


def test_requests_go_to_the_task_with_the_fewest_and_health_needs_no_database(dev: Templates) -> None:
    group = only(dev["Fargate"], "AWS::ElasticLoadBalancingV2::TargetGroup")

    attributes = _attributes(group, "TargetGroupAttributes")
    assert attributes["load_balancing.algorithm.type"] == "least_outstanding_requests"
    assert has(group, {"HealthCheckPath": "/livez", "Matcher": {"HttpCode": "200"}})


def test_a_bad_deployment_is_rolled_back_by_health_and_by_alarms(dev: Templates) -> None:
    deployment = only(dev["Fargate"], "AWS::ECS::Service")["DeploymentConfiguration"]

    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert has(deployment["Alarms"], {"Enable": True, "Rollback": True})
    names = [text(each) for each in deployment["Alarms"]["AlarmNames"]]
    assert [kind for kind in ("errorrate", "loadbalancererrors") if any(kind in name for name in names)] == [
        "errorrate",
        "loadbalancererrors",
    ]


def test_tasks_follow_open_streams_and_cpu(prod: Templates) -> None:
    target = only(prod["Fargate"], "AWS::ApplicationAutoScaling::ScalableTarget")
    policies = [
        each["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        for each in resources(prod["Fargate"], "AWS::ApplicationAutoScaling::ScalingPolicy").values()
    ]

    assert has(target, {"MinCapacity": 2, "MaxCapacity": 20})
    streams = next(each for each in policies if "CustomizedMetricSpecification" in each)
    assert has(
        streams["CustomizedMetricSpecification"],
        {
            "Namespace": "Headwater",
            "MetricName": "OpenStreams",
            "Dimensions": [{"Name": "home", "Value": "fargate"}],
            "Statistic": "Average",
        },
    )
    assert streams["TargetValue"] == 200
    assert any(
        each.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType") == "ECSServiceAverageCPUUtilization"
        for each in policies
    )


def test_the_number_of_tasks_is_left_to_scaling(dev: Templates) -> None:
    assert "DesiredCount" not in only(dev["Fargate"], "AWS::ECS::Service")


def test_a_task_may_protect_tasks_of_its_cluster_from_being_scaled_in(dev: Templates) -> None:
    statements = [
        statement
        for policy in resources(dev["Fargate"], "AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "ecs:UpdateTaskProtection" in statement["Action"]
    ]

    assert [text(each["Resource"]).rpartition(":")[2] for each in statements] == ["task/headwater-dev/*"]


def test_with_a_certificate_plain_http_only_leads_to_https(everything: Templates) -> None:
    listeners = [
        each["Properties"]
        for each in resources(everything["Fargate"], "AWS::ElasticLoadBalancingV2::Listener").values()
    ]

    by_port = {each["Port"]: each for each in listeners}
    assert by_port[80]["DefaultActions"][0]["Type"] == "redirect"
    assert by_port[443]["DefaultActions"][0]["Type"] == "forward"
    assert by_port[443]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13")


def test_no_stage_that_keeps_data_is_on_the_internet_by_plain_http(prod: Templates) -> None:
    public = stage.FargateHome(public=True)

    with pytest.raises(ValueError, match="certificate"):
        stage.Stage(name="open", fargate_home=public)
    assert stage.Stage(name="trial", keeps_data=False, fargate_home=public).fargate_home.public
    assert only(prod["Fargate"], "AWS::ElasticLoadBalancingV2::LoadBalancer")["Scheme"] == "internal"


def test_a_home_that_is_not_public_is_for_the_vpc_alone(everything: Templates) -> None:
    balancer = only(everything["Fargate"], "AWS::ElasticLoadBalancingV2::LoadBalancer")
    front = resources(everything["Fargate"], "AWS::EC2::SecurityGroup")[_group(everything, "FrontDoor")]

    assert balancer["Scheme"] == "internal"
    assert not any(each.get("CidrIp") == "0.0.0.0/0" for each in front["Properties"]["SecurityGroupIngress"])


def test_the_service_changes_only_after_a_task_has_migrated(dev: Templates) -> None:
    ((name, migrations),) = resources(dev["Fargate"], "Custom::Migrations").items()
    service = next(iter(resources(dev["Fargate"], "AWS::ECS::Service").values()))
    definition = next(iter(resources(dev["Fargate"], "AWS::ECS::TaskDefinition")))

    assert name in service["DependsOn"]
    assert migrations["Properties"]["Version"] == {"Ref": definition}
    task = json.loads(text(migrations["Properties"]["Task"]))
    assert task["taskDefinition"] == f"<{definition}>"
    assert task["overrides"] == {"containerOverrides": [{"name": "app", "command": ["python", "-m", "app.db.migrate"]}]}
    assert task["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"
