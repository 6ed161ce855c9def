"""Where the cheaper home changes: the curves' answer against one that is solved by hand."""

import pytest

from compare.cost.bill import Home
from compare.cost.curves import Flip, curve, flips, next_flip, points
from compare.cost.deployment import Deployment, OnFargate, OnLambda
from compare.cost.prices import load
from compare.cost.workload import Workload

HOMES: tuple[Home, ...] = ("lambda", "fargate")
# Dollars a month: of two tasks of 0.5 vCPU and 1 GB, of the load balancer and of its two addresses.
TASK = (0.5 * 0.03238 + 0.00356) * 730
BALANCER = 0.0225 * 730
ADDRESSES = 2 * 0.005 * 730
LCU = 0.008 * 730


def found(deployment: Deployment, workload: Workload, low: float = 1, high: float = 1e5) -> list[Flip]:
    prices = load("us-east-1")
    curves = {home: curve(home, deployment, workload, prices) for home in HOMES}
    return flips(curves, points(deployment, workload, low, high))


def test_a_function_url_against_two_tasks() -> None:
    deployment = Deployment(on_lambda=OnLambda(memory=512, snapstart=False, front_door="function_url"))
    workload = Workload(stream_seconds=30, bytes=20_000, request_bytes=0, cold_share=0, peak=1)

    (flip,) = found(deployment, workload)

    # Both are straight: a request and 30 s of 0.5 GB for each stream, against what is fixed and 20 kB of an LCU.
    of_stream = 730 * (30 * 0.5 * 0.0000133334 + 0.0000002)
    solved = (2 * TASK + BALANCER + ADDRESSES) / (of_stream - LCU * 20_000 / 1e9)
    assert flip.streams_per_hour == pytest.approx(solved, rel=1e-9)
    assert (flip.below, flip.above) == ("lambda", "fargate")
    assert flip.usd == pytest.approx(of_stream * solved)


def test_a_rest_api_with_snapstart_against_two_tasks() -> None:
    deployment = Deployment(on_lambda=OnLambda(memory=1024, snapstart=True, front_door="rest_api"))
    workload = Workload(stream_seconds=5, bytes=0, request_bytes=0, cold_share=0.02, peak=1)

    (flip,) = found(deployment, workload)

    # 25 new connections a second are an LCU: 90,000 an hour.
    of_stream = 730 * (5 * 0.0000133334 + 0.0000002 + 0.0000035 + 0.02 * 0.0001397998)
    snapshot = 2_628_000 * 0.0000015046
    solved = (2 * TASK + BALANCER + ADDRESSES - snapshot) / (of_stream - LCU / 90_000)
    assert flip.streams_per_hour == pytest.approx(solved, rel=1e-9)


def test_tasks_that_hold_one_stream_win_and_lose_at_each_step() -> None:
    deployment = Deployment(
        on_lambda=OnLambda(memory=512, snapstart=False, front_door="function_url"),
        on_fargate=OnFargate(streams_per_task=1, headroom=0, least=1, addresses=0),
    )
    workload = Workload(stream_seconds=3600, bytes=0, request_bytes=0, cold_share=0, peak=1)

    several = found(deployment, workload, high=50)

    # With n streams open, k tasks (k - 1 < n <= k) beat Lambda past the n at which their lines meet, if it is below k.
    of_open = 730 * (3600 * 0.5 * 0.0000133334 + 0.0000002) - LCU / 3000
    meets = {k: (BALANCER + k * TASK) / of_open for k in range(1, 51)}
    solved = [at for k in (6, 7, 8, 9) for at in (meets[k], k)] + [meets[10]]
    assert [flip.streams_per_hour for flip in several] == pytest.approx(solved, rel=1e-7)
    assert [flip.above for flip in several] == ["fargate", "lambda"] * 4 + ["fargate"]
    assert next_flip(several, 6.5) == several[2]
    assert next_flip(several, 20) is None


def test_there_is_none_where_one_home_is_always_cheaper() -> None:
    deployment = Deployment(on_lambda=OnLambda(provisioned=20))

    assert found(deployment, Workload(stream_seconds=60, peak=1)) == []
