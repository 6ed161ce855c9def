"""Traffic and capacity from the results of a run."""

from collections.abc import Callable

import msgspec

from compare.cost.deployment import Deployment
from compare.cost.workload import Workload
from compare.results import Results, ResultsError, Target, Traffic

# As many one process has held, which is what a task is (docs/performance.md); CPU may allow more, nobody has seen it.
_MOST_SHOWN = 1000
# Below this, the CPU of a few streams says little about many.
_ENOUGH_HELD = 20


def workload(results: Results, base: Workload) -> Workload:
    """Means over the targets, weighted by their whole streams. The run's rate counts where `base` has the default,
    for a load is mostly not the month's traffic.

    Raises:
        ResultsError: no stream came whole.
    """
    whole = sum(target.counts.whole for target in results.targets)
    if not whole:
        raise ResultsError("No stream of this run came whole: there is no traffic to work out the cost of.")

    def mean(value: Callable[[Traffic], float]) -> float:
        return sum(value(each.traffic) * each.counts.whole for each in results.targets) / whole

    unsaid = base.streams_per_hour == Workload().streams_per_hour
    return msgspec.structs.replace(
        base,
        streams_per_hour=mean(lambda each: each.requests_per_hour) if unsaid else base.streams_per_hour,
        stream_seconds=mean(lambda each: each.stream_seconds),
        bytes=mean(lambda each: each.bytes),
        cold_share=_cold_share(results, base.cold_share),
    )


def deployment(results: Results, base: Deployment) -> Deployment:
    """With as many streams a task as the CPU that the target of the Fargate home took for each leaves room for."""
    for target in results.targets:
        if target.home == "fargate" and (holds := _streams_per_core(target)):
            held = max(1, min(_MOST_SHOWN, int(holds * base.on_fargate.vcpu)))
            return msgspec.structs.replace(
                base, on_fargate=msgspec.structs.replace(base.on_fargate, streams_per_task=held)
            )
    return base


def _streams_per_core(target: Target) -> float | None:
    if target.usage is None or not target.usage.cores or target.traffic.held < _ENOUGH_HELD:
        return None
    return target.traffic.held / target.usage.cores


def _cold_share(results: Results, otherwise: float) -> float:
    """Of the target in the Lambda home, if it said how its instances came to be."""
    for target in results.targets:
        if target.home == "lambda" and target.starts.told:
            return (target.starts.cold + target.starts.restored) / target.starts.told
    return otherwise
