import tomllib
from pathlib import Path

import pytest

from infra.commands.cost import Prices, at_rest
from tests.infra.conftest import Templates

_PRICES = Path(__file__).parents[2] / "compare" / "prices.toml"


def _bill(templates: Templates, *stacks: str) -> dict[str, float]:
    return {line.what: round(line.usd, 2) for line in at_rest([templates[stack] for stack in stacks], Prices())}


def test_the_bill_at_rest_is_what_one_works_out_by_hand(dev: Templates) -> None:
    assert _bill(dev, "Shared") == {
        "1 NAT gateways with their addresses": 36.50,  # (0.045 + 0.005) * 730
        "Aurora, 1 instances of at least 0.5 ACU": 43.80,  # 0.5 * 0.12 * 730
        "RDS Proxy, billed as 8 ACU at the least": 87.60,  # 8 * 0.015 * 730
        "2 secrets": 0.80,
        "alarms on 3 metrics": 0.30,
    }
    assert _bill(dev, "Fargate") == {
        "1 tasks of 0.5 vCPU and 1 GB": 14.42,  # (0.5 * 0.03238 + 0.00356) * 730
        "load balancer with 2 public addresses": 23.73,  # (0.0225 + 2 * 0.005) * 730
        "alarms on 10 metrics": 1.00,
        "a dashboard": 3.00,
    }


def test_what_is_kept_ready_is_counted(prod: Templates, dev: Templates) -> None:
    assert _bill(dev, "Lambda")["SnapStart's snapshot of 1024 MB"] == 3.95  # 0.0000015046 * 3600 * 730
    assert _bill(prod, "Lambda")["provisioned concurrency, 2 of 1769 MB"] == 30.27


def test_endpoints_are_counted_by_zone(everything: Templates) -> None:
    assert _bill(everything, "Shared")["7 interface endpoints"] == 102.20  # 7 * 2 * 0.01 * 730


def test_a_home_that_is_not_public_has_no_public_addresses(everything: Templates) -> None:
    assert _bill(everything, "Fargate")["load balancer with 0 public addresses"] == 16.43


def test_every_price_has_a_unit_and_a_dated_source() -> None:
    table = tomllib.loads(_PRICES.read_text())

    for group in table["us-east-1"].values():
        for name, price in group.items():
            assert price["usd"] > 0, name
            assert price["per"], name
            assert table["sources"][price["source"]]["read"], name


def test_a_price_that_is_not_there_is_no_zero() -> None:
    with pytest.raises(KeyError):
        Prices().month("network", "no_such_thing")
