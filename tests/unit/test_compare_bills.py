"""Bills, against figures that were worked out by hand."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from compare.cost.bill import Bill
from compare.cost.bills import bill
from compare.cost.deployment import Deployment, OnFargate, OnLambda, OnManagedInstances, Shared
from compare.cost.front_doors import lcu
from compare.cost.prices import PRICES, PriceError, Prices, load
from compare.cost.workload import Workload, day

PER_HOUR = 10e6 / 730
SEEDS = Workload(streams_per_hour=PER_HOUR, stream_seconds=0.5, bytes=4000, cold_share=0.01, peak=1)


@pytest.fixture(scope="module")
def prices() -> Prices:
    return load("us-east-1")


def of_lambda(prices: Prices, workload: Workload = SEEDS, **chosen: object) -> dict[str, float]:
    defaults = {"memory": 512, "snapstart": False, "front_door": "function_url"}
    on_lambda = msgspec.convert({**defaults, **chosen}, OnLambda)
    return own(bill("lambda", Deployment(on_lambda=on_lambda), workload, prices))


def own(whole: Bill) -> dict[str, float]:
    return {line.what: round(line.usd, 2) for line in whole.lines if not line.shared}


def test_lambda_on_demand_pays_for_requests_and_whole_streams(prices: Prices) -> None:
    lines = of_lambda(prices)

    assert lines["Lambda, requests"] == 2.00  # 10 M x 0.0000002
    assert lines["Lambda, duration of whole streams"] == 33.33  # 10 M x 0.5 s x 0.5 GB x 0.0000133334
    assert of_lambda(prices, architecture="x86")["Lambda, duration of whole streams"] == 41.67


def test_the_free_tier_counts_only_where_it_is_asked_for(prices: Prices) -> None:
    lines = of_lambda(prices, free_tier=True)

    # (2,500,000 - 400,000) x 0.0000133334, and 9 M requests: $29.80 with them.
    assert lines["Lambda, duration of whole streams"] == 28.00
    assert lines["Lambda, requests"] == 1.80


def test_the_free_tier_is_not_for_provisioned_concurrency(prices: Prices) -> None:
    assert of_lambda(prices, free_tier=True, provisioned=1) == of_lambda(prices, provisioned=1)


@pytest.mark.parametrize(("environments", "usd"), [(2, 30.20), (5, 43.34), (10, 65.25)])
def test_provisioned_concurrency_is_paid_ready_and_at_work(environments: int, usd: float, prices: Prices) -> None:
    lines = of_lambda(prices, provisioned=environments)

    # n x 0.5 GB x 2,628,000 s x 0.0000033334, and 2,500,000 GB-s x 0.0000077778, and $2 for the requests.
    assert sum(lines.values()) == pytest.approx(usd, abs=0.011)
    assert lines["Lambda, duration of whole streams"] == 0


def test_streams_beyond_the_provisioned_environments_are_on_demand(prices: Prices) -> None:
    lines = of_lambda(prices, provisioned=1)

    # 1.9026 are open on the average: one by 2,628,000 s, the others are 0.9026 of that.
    assert lines["Provisioned concurrency, duration"] == 10.22  # 0.5 x 2,628,000 x 0.0000077778
    assert lines["Lambda, duration of whole streams"] == 15.81  # 0.9026 x 0.5 x 2,628,000 x 0.0000133334


def test_snapstart_is_paid_for_its_snapshot_and_each_restore(prices: Prices) -> None:
    lines = of_lambda(prices, snapstart=True)

    assert lines["SnapStart, snapshots kept"] == 1.98  # 0.5 GB x 2,628,000 s x 0.0000015046
    assert lines["SnapStart, restores"] == 6.99  # 100,000 x 0.5 GB x 0.0001397998


def test_a_start_without_a_snapshot_is_billed_as_duration(prices: Prices) -> None:
    assert of_lambda(prices, init_seconds=2.0)["Lambda, cold starts"] == 1.33  # 100,000 x 2 s x 0.5 GB x 0.0000133334


def test_a_rest_api_counts_each_10_mb_of_an_answer(prices: Prices) -> None:
    assert of_lambda(prices, front_door="rest_api")["REST API, requests"] == 35.00
    large = msgspec.structs.replace(SEEDS, bytes=25 * 1024**2)
    lines = of_lambda(prices, large, front_door="rest_api")
    assert lines["REST API, requests"] == 105.00
    # (25 - 6) MiB x 10 M = 199,229 GB, of which 100 are free, x 0.008.
    assert lines["Lambda, streamed bytes beyond 6 MB a stream"] == pytest.approx(1593.04, abs=0.01)


def test_much_duration_is_cheaper(prices: Prices) -> None:
    much = Workload(streams_per_hour=20e9 / 730, stream_seconds=1, cold_share=0, peak=1)
    lines = of_lambda(prices, much, memory=1024)

    # 7.5 billion GB-s, 11.25 more at 90 % and the last 1.25 at 80 %.
    assert lines["Lambda, duration of whole streams"] == pytest.approx((7.5 + 11.25 * 0.9 + 1.25 * 0.8) * 13_333.4)


@pytest.mark.parametrize(
    ("vcpu", "memory", "architecture", "usd"),
    [(0.25, 0.5, "arm64", 7.21), (0.5, 1, "arm64", 14.42), (1, 2, "arm64", 28.84), (1, 2, "x86", 36.04)],
)
def test_a_task_costs_its_hours(vcpu: float, memory: float, architecture: str, usd: float, prices: Prices) -> None:
    chosen = {"vcpu": vcpu, "memory": memory, "architecture": architecture, "least": 1}
    deployment = Deployment(on_fargate=msgspec.convert(chosen, OnFargate))
    lines = own(bill("fargate", deployment, Workload(streams_per_hour=1), prices))

    assert lines["Fargate, vCPU"] + lines["Fargate, memory"] == pytest.approx(usd, abs=0.011)
    assert lines["Load balancer"] == 16.43


def test_there_are_two_tasks_however_little_there_is_to_do(prices: Prices) -> None:
    lines = bill("fargate", Deployment(), Workload(streams_per_hour=0), prices).lines

    assert lines[0].quantity == 2 * 730 * 0.5


def test_tasks_follow_the_hours_with_headroom(prices: Prices) -> None:
    # 100 streams at once in one hour and 400 in the next; a task takes 140.
    workload = Workload(streams_per_hour=250, stream_seconds=3600, hours=(100, 400))
    lines = bill("fargate", Deployment(), workload, prices).lines

    assert lines[0].quantity == (2 + 3) / 2 * 730 * 0.5
    assert "2.5 tasks on the average (most 3)" in lines[0].arithmetic


def test_the_largest_dimension_of_a_load_balancer_is_billed() -> None:
    assert lcu(Workload(streams_per_hour=180_000, stream_seconds=1, bytes=0, request_bytes=0)) == 2  # 50 new a second
    assert lcu(Workload(streams_per_hour=36_000, stream_seconds=900, bytes=0, request_bytes=0)) == 3  # 9,000 open
    assert lcu(Workload(streams_per_hour=4000, stream_seconds=1, bytes=1e6, request_bytes=0)) == 4  # 4 GB an hour


def test_managed_instances_are_ec2_with_a_fee(prices: Prices) -> None:
    deployment = Deployment(on_managed_instances=OnManagedInstances(price=0.1))
    lines = own(bill("managed_instances", deployment, SEEDS, prices))

    assert lines["EC2 instances, m7g.large"] == 219.00  # 3 x 730 x 0.1
    assert lines["Lambda's fee for them"] == 32.85  # 15 %
    assert lines["Lambda, requests"] == 2.00


def test_what_both_homes_stand_on_is_the_same_in_both(prices: Prices) -> None:
    deployment = Deployment(shared=Shared(proxy=True))
    shared = [
        [line for line in bill(home, deployment, SEEDS, prices).lines if line.shared] for home in ("lambda", "fargate")
    ]

    assert shared[0] == shared[1]
    assert round(sum(line.usd for line in shared[0] if "proxy" in line.what.lower()), 2) == 87.60


def test_a_line_shows_its_arithmetic(prices: Prices) -> None:
    deployment = Deployment(on_lambda=OnLambda(memory=512))
    lines = {line.what: line.arithmetic for line in bill("lambda", deployment, SEEDS, prices).lines}

    assert lines["Lambda, duration of whole streams"] == (
        "10,000,000 streams x 0.5 s x 0.5 GB = 2,500,000 GB-s; x $0.0000133334 = $33.33"
    )


def test_a_region_without_prices_is_told(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match=r"no prices for 'eu-west-1'; prices\.toml has those of us-east-1"):
        load("eu-west-1")
    file = tmp_path / "prices.toml"
    file.write_text("hours_per_month = 730\n[sources]\n[eu-west-1.lambda]\n")
    with pytest.raises(PriceError, match=r"no price lambda\.requests for eu-west-1"):
        bill("lambda", Deployment(), SEEDS, load("eu-west-1", file))
    file.write_text("[")
    with pytest.raises(PriceError, match="is no file of prices"):
        load("eu-west-1", file)


def test_every_step_of_a_price_is_further_and_cheaper() -> None:
    table = tomllib.loads(PRICES.read_text())
    stepped = [price["steps"] for price in table["us-east-1"]["lambda"].values() if "steps" in price]

    assert len(stepped) == 2
    for steps in stepped:
        assert [step["beyond"] for step in steps] == sorted(step["beyond"] for step in steps)
        assert [step["share"] for step in steps] == [0.9, 0.8]


@pytest.mark.parametrize("peak", [1, 1.5, 3, 10, 24])
def test_a_day_has_its_peak_and_its_mean(peak: float) -> None:
    hours = day(peak)

    assert sum(hours) / 24 == pytest.approx(1)
    assert max(hours) == pytest.approx(peak, rel=1e-3)
    assert min(hours) >= 0
