import pytest

from infra import stage
from tests.infra.conftest import Templates
from tests.infra.templates import only, resources


def test_only_the_subnets_of_load_balancers_lead_to_the_internet_and_none_gives_addresses_away(dev: Templates) -> None:
    subnets = resources(dev["Shared"], "AWS::EC2::Subnet").values()

    assert len(subnets) == 6
    assert not any(each["Properties"]["MapPublicIpOnLaunch"] for each in subnets)
    gateways = [
        route["Properties"]
        for route in resources(dev["Shared"], "AWS::EC2::Route").values()
        if "GatewayId" in route["Properties"]
    ]
    assert len(gateways) == 2
    assert all("publicSubnet" in str(route["RouteTableId"]) for route in gateways)


@pytest.mark.parametrize(("name", "gateways"), [("dev", 1), ("prod", 2), ("everything", 0)])
def test_there_are_as_many_nat_gateways_as_the_stage_says(
    stages: dict[str, Templates], name: str, gateways: int
) -> None:
    assert len(resources(stages[name]["Shared"], "AWS::EC2::NatGateway")) == gateways


def test_without_nat_everything_that_a_home_calls_has_an_endpoint(everything: Templates) -> None:
    endpoints = resources(everything["Shared"], "AWS::EC2::VPCEndpoint").values()

    services = {str(each["Properties"]["ServiceName"]) for each in endpoints}
    for service in ("secretsmanager", "logs", "ecr.api", "ecr.dkr", "lambda", "states", "bedrock-runtime", "s3"):
        assert any(service in each for each in services), service


def test_what_the_network_refuses_is_logged(dev: Templates) -> None:
    assert only(dev["Shared"], "AWS::EC2::FlowLog")["TrafficType"] == "REJECT"


def test_nothing_can_be_reached_by_nobody() -> None:
    with pytest.raises(ValueError, match="Without NAT"):
        stage.Stage(name="closed", network=stage.Network(nat_gateways=0))
