"""What a deployment costs a month while nobody uses it, worked out from its templates."""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Resources = dict[str, dict[str, Any]]

_PRICES = Path(__file__).parents[2] / "compare" / "prices.toml"
_REGION = "us-east-1"
_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Line:
    what: str
    usd: float
    """A month."""


class Prices:
    """Those of one region.

    Raises:
        KeyError: there is no such price.
    """

    def __init__(self, path: Path = _PRICES) -> None:
        table = tomllib.loads(path.read_text())
        self._of_region = table[_REGION]
        self._hours: float = table["hours_per_month"]

    def month(self, group: str, name: str) -> float:
        """Of what is billed by the month or the event."""
        return float(self._of_region[group][name]["usd"])

    def hours(self, group: str, name: str) -> float:
        """A whole month of what is billed by the hour."""
        return self.month(group, name) * self._hours

    def seconds(self, group: str, name: str) -> float:
        return self.hours(group, name) * _SECONDS_AN_HOUR


def at_rest(templates: list[dict[str, Any]], prices: Prices) -> list[Line]:
    """Without traffic, tokens, stored data, logs and the metrics of tasks: those follow from the use."""
    lines = []
    for template in templates:
        resources: Resources = template["Resources"]
        for rule in _RULES:
            lines += [line for line in rule(resources, prices) if line.usd]
    return lines


def _of(resources: Resources, kind: str) -> Iterator[dict[str, Any]]:
    return (each.get("Properties", {}) for each in resources.values() if each["Type"] == kind)


def _count(resources: Resources, kind: str) -> int:
    return sum(1 for _ in _of(resources, kind))


def _network(resources: Resources, prices: Prices) -> Iterator[Line]:
    nat = _count(resources, "AWS::EC2::NatGateway")
    each = prices.hours("network", "nat") + prices.hours("network", "public_address")
    yield Line(what=f"{nat} NAT gateways with their addresses", usd=nat * each)
    endpoints = [each for each in _of(resources, "AWS::EC2::VPCEndpoint") if each["VpcEndpointType"] == "Interface"]
    zones = sum(len(each["SubnetIds"]) for each in endpoints)
    usd = zones * prices.hours("network", "interface_endpoint")
    yield Line(what=f"{len(endpoints)} interface endpoints", usd=usd)


def _database(resources: Resources, prices: Prices) -> Iterator[Line]:
    instances = _count(resources, "AWS::RDS::DBInstance")
    for cluster in _of(resources, "AWS::RDS::DBCluster"):
        least = cluster["ServerlessV2ScalingConfiguration"]["MinCapacity"]
        usd = instances * least * prices.hours("database", "aurora_capacity")
        yield Line(what=f"Aurora, {instances} instances of at least {least} ACU", usd=usd)
    proxies = _count(resources, "AWS::RDS::DBProxy")
    yield Line(what="RDS Proxy, billed as 8 ACU at the least", usd=proxies * prices.hours("database", "proxy_least"))


def _secrets(resources: Resources, prices: Prices) -> Iterator[Line]:
    managed = sum(1 for each in _of(resources, "AWS::RDS::DBCluster") if each.get("ManageMasterUserPassword"))
    secrets = managed + _count(resources, "AWS::SecretsManager::Secret")
    yield Line(what=f"{secrets} secrets", usd=secrets * prices.month("operations", "secret"))
    yield Line(what="a key in KMS", usd=_count(resources, "AWS::KMS::Key") * prices.month("operations", "key"))


def _functions(resources: Resources, prices: Prices) -> Iterator[Line]:
    functions = list(_of(resources, "AWS::Lambda::Function"))
    for function in functions:
        if "SnapStart" in function:
            memory = function["MemorySize"]
            usd = memory / 1024 * prices.seconds("lambda", "snapstart_cache")
            yield Line(what=f"SnapStart's snapshot of {memory} MB", usd=usd)
    for target in _scaled(resources, "lambda"):
        memory = max(function["MemorySize"] for function in functions if "ImageUri" in function["Code"])
        usd = target["MinCapacity"] * memory / 1024 * prices.seconds("lambda", "provisioned_idle_arm64")
        yield Line(what=f"provisioned concurrency, {target['MinCapacity']} of {memory} MB", usd=usd)


def _tasks(resources: Resources, prices: Prices) -> Iterator[Line]:
    for target in _scaled(resources, "ecs"):
        task = next(_of(resources, "AWS::ECS::TaskDefinition"))
        vcpu, memory, tasks = int(task["Cpu"]) / 1024, int(task["Memory"]) / 1024, target["MinCapacity"]
        each = vcpu * prices.hours("fargate", "vcpu_arm64") + memory * prices.hours("fargate", "memory_arm64")
        yield Line(what=f"{tasks} tasks of {vcpu:g} vCPU and {memory:g} GB", usd=tasks * each)


def _scaled(resources: Resources, namespace: str) -> Iterator[dict[str, Any]]:
    for target in _of(resources, "AWS::ApplicationAutoScaling::ScalableTarget"):
        if target["ServiceNamespace"] == namespace:
            yield target


def _front_doors(resources: Resources, prices: Prices) -> Iterator[Line]:
    for balancer in _of(resources, "AWS::ElasticLoadBalancingV2::LoadBalancer"):
        addresses = len(balancer["Subnets"]) if balancer["Scheme"] == "internet-facing" else 0
        usd = prices.hours("front_doors", "load_balancer") + addresses * prices.hours("network", "public_address")
        yield Line(what=f"load balancer with {addresses} public addresses", usd=usd)
    for acl in _of(resources, "AWS::WAFv2::WebACL"):
        rules = len(acl["Rules"])
        usd = prices.month("front_doors", "web_acl") + rules * prices.month("front_doors", "web_acl_rule")
        yield Line(what=f"web ACL with {rules} rules", usd=usd)


def _watch(resources: Resources, prices: Prices) -> Iterator[Line]:
    watched = sum(_metrics(each) for each in _of(resources, "AWS::CloudWatch::Alarm"))
    yield Line(what=f"alarms on {watched} metrics", usd=watched * prices.month("operations", "alarm"))
    boards = _count(resources, "AWS::CloudWatch::Dashboard")
    yield Line(what="a dashboard", usd=boards * prices.month("operations", "dashboard"))


def _metrics(alarm: dict[str, Any]) -> int:
    return sum(1 for each in alarm.get("Metrics", []) if "MetricStat" in each) or 1


_RULES: tuple[Callable[[Resources, Prices], Iterator[Line]], ...] = (
    _network,
    _database,
    _secrets,
    _functions,
    _tasks,
    _front_doors,
    _watch,
)
