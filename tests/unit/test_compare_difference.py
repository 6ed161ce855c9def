"""What differs beyond noise: a shift of a tenth is found, and no shift is not."""

from functools import partial

import numpy as np
import pytest

from compare.load.address import parse
from compare.load.answer import Answer
from compare.load.asking import Outcome
from compare.load.dialects import DIALECTS
from compare.load.record import Record
from compare.measures.difference import Change, between, between_runs
from compare.measures.quantiles import distribution
from compare.measures.samples import Samples
from compare.results import Counts, Starts, Target, Traffic
from tests.support.compare import results_of

STREAMS = 1500
TOKEN = b'id: 1\ndata: {"text":"x"}\n\n'


def target(name: str, seed: int, *, shift: float = 1.0, failed: int = 0, swing: float = 0.0) -> Target:
    """Lognormal times to first token, and gaps of which each stream has its own mean; `swing` is a noise of minutes."""
    draw = np.random.default_rng(seed)
    moments = np.sort(draw.uniform(0, 600, STREAMS))
    noise = 1 + swing * draw.normal(size=60)[np.minimum(moments // 10, 59).astype(int)]
    ttft, gap = Samples(), Samples()
    for at, value, slow in zip(
        moments, draw.lognormal(5, 0.4, STREAMS) * noise * shift, draw.normal(40, 4, STREAMS), strict=True
    ):
        ttft.add(at, value)
        for each in draw.exponential(slow * shift, 20):
            gap.add(at, each)
    measured = {"ttft": distribution(ttft), "gap": distribution(gap)}
    return Target(
        name=name,
        url="http://target.test",
        home="fargate",
        instances=2,
        counts=Counts(STREAMS, STREAMS - failed, 0, 0, {"http_503": failed} if failed else {}),
        measures={name: each for name, each in measured.items() if each is not None},  # type: ignore[misc]
        starts=Starts(STREAMS, 0, 0),
        traffic=Traffic(9000, 10, 4000, 200, 25, 40),
    )


def of_long_streams(seed: int) -> Target:
    """As a run records them: 10 s each, in a minute, with a mean gap of its own."""
    draw = np.random.default_rng(seed)
    record = Record(parse("a=http://target.test", None), zero=0, warmup=0)
    for due in np.sort(draw.uniform(0, 60, 120)).tolist():
        answer = Answer(DIALECTS["plain"], partial(record.gap, due))
        for at in (due + np.cumsum(draw.normal(draw.normal(0.1, 0.01), 0.003, 100))).tolist():
            answer.feed(at, TOKEN)
        record.end(Outcome("whole", due, due, at, False, answer))
    return record.target(60, usage=None, note=None)


def found(changes: list[Change]) -> set[tuple[str | None, str]]:
    return {(change.measure, change.what) for change in changes if change.beyond_noise}


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_of_a_tenth_is_found(seed: int) -> None:
    changes = between([(target("a", seed), target("a", seed + 100, shift=1.1))])
    assert {("ttft", "p50"), ("gap", "p50")} <= found(changes)
    [median] = [change for change in changes if (change.measure, change.what) == ("ttft", "p50")]
    assert median.ratio == pytest.approx(1.1, abs=0.06)


@pytest.mark.parametrize("swing", [0.0, 0.2])
def test_of_forty_pairs_without_a_difference_hardly_any_is_said_to_have_one(swing: float) -> None:
    """One in twenty by the method's own promise; six of forty would be one in thirty thousand."""
    wrong = sum(
        bool(found(between([(target("a", seed, swing=swing), target("a", seed + 1000, swing=swing))])))
        for seed in range(40)
    )
    assert wrong <= 6


def test_gaps_of_one_stream_are_not_taken_for_independent_while_it_lasts() -> None:
    assert sum(bool(found(between([(of_long_streams(seed), of_long_streams(seed + 1000))]))) for seed in range(20)) <= 4


def test_more_failures_are_found() -> None:
    assert found(between([(target("a", 1), target("a", 2, failed=15))])) == {(None, "failed")}
    assert not found(between([(target("a", 1, failed=3), target("a", 2, failed=4))]))


def test_runs_are_compared_by_the_names_of_their_targets() -> None:
    before = results_of([target("a", 1), target("gone", 2)])
    after = results_of([target("new", 3), target("a", 4)])
    assert {change.target for change in between_runs(before, after)} == {"a"}
    assert between_runs(before, results_of([])) == []
