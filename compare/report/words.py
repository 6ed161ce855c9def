"""What a report says in sentences."""

from typing import Final

from compare.cost.answer import Answer
from compare.cost.bill import number
from compare.cost.deployment import OnLambda
from compare.measures.difference import between
from compare.results import Measure, Results, Target

Pairs = list[tuple[str, str]]

_LIMITS_OF_COST: Final = (
    "Bills are worked out from list prices of one region, not read from an account. Quantities are means; tasks follow "
    "the traffic by the hour, without the minutes that scaling takes.",
    "Streams that provisioned environments serve are counted as if they came evenly within an hour.",
)
_LIMITS_OF_SPEED: Final = (
    "An interval says how far a quantile may be off by chance in a run like this one. It says nothing of other hours, "
    "other networks or another model.",
    "Shares of requests (failed, resumed, cold) are compared as if each were independent of the others. Failures "
    "mostly come in clumps, and then a difference between their shares may be chance.",
    "Times are of requests that were answered: a target that refuses what it is too busy for looks fast to the rest.",
    "Targets on one machine take CPU from each other and from the load: such a run shows that it works and what "
    "differs much, not what AWS would do.",
)


def headline(results: Results | None, answer: Answer | None) -> str:
    if answer is not None:
        return answer.sentence
    assert results is not None
    return "No stream came whole, so there is nothing to work out the cost of."


def summary(results: Results | None) -> list[str]:
    """Who was faster, and who failed, each in a sentence."""
    if results is None:
        return []
    return [*_faster("ttft", "The first token came", results), *_starts(results), *_failures(results)]


def _faster(measure: Measure, begins: str, results: Results) -> list[str]:
    measured = [target for target in results.targets if measure in target.measures]
    if not measured:
        return []
    told = ", ".join(f"after {number(each.measures[measure].p50.value)} ms from {each.name}" for each in measured)
    return [f"{begins} at the median {told}{_difference(measure, measured)}."]


def _difference(measure: Measure, measured: list[Target]) -> str:
    """Between the medians of the fastest two, if both answered alike often: who refuses half is quick with the rest."""
    ranked = sorted(measured, key=lambda each: each.measures[measure].p50.value)
    if len(ranked) == 1:
        return ""
    found = {(each.measure, each.what) for each in between([(ranked[0], ranked[1])]) if each.beyond_noise}
    if (None, "failed") in found:
        return f"; {ranked[0].name} and {ranked[1].name} did not fail alike often, which may be why"
    if (measure, "p50") in found:
        return f"; {ranked[0].name} is the fastest"
    return f"; between {ranked[0].name} and {ranked[1].name} that is no difference that this run could tell"


def _starts(results: Results) -> list[str]:
    """What a start costs those who wait for it."""
    kinds: tuple[tuple[Measure, str], ...] = (("ttft_cold", "started"), ("ttft_restored", "restored"))
    return [
        _start(target, measure, what)
        for target in results.targets
        for measure, what in kinds
        if measure in target.measures
    ]


def _start(target: Target, measure: Measure, what: str) -> str:
    late, usual = target.measures[measure].p50.value, target.measures["ttft"].p50.value
    return (
        f"Where {target.name} had an instance {what} first, after {number(late)} ms: {late / usual:.1f} times as late."
    )


def _failures(results: Results) -> list[str]:
    failed = [f"{each.counts.failed} of {each.counts.requests} to {each.name}" for each in results.targets]
    if not any(each.counts.failed for each in results.targets):
        return ["No request failed."]
    return [f"Requests that failed: {', '.join(failed)}."]


def warnings(results: Results | None, answer: Answer | None) -> list[str]:
    told = list(results.warnings) if results else []
    if results and results.limits.stopped_by:
        told.append(f"The run was ended before its load was over ({results.limits.stopped_by}).")
    if answer and answer.unread_prices:
        told.append(
            f"The prices of these lines were put down from memory, check them: {', '.join(answer.unread_prices)}."
        )
    return told


def assumed(answer: Answer) -> Pairs:
    """Traffic and deployment, as far as a bill depends on them."""
    workload, chosen = answer.workload, answer.deployment
    function, tasks, instances = chosen.on_lambda, chosen.on_fargate, chosen.on_managed_instances
    return [
        ("Traffic", f"{number(workload.streams_per_hour)} streams an hour, each {number(workload.stream_seconds)} s"),
        ("A stream", f"{number(workload.bytes)} bytes of answer, {number(workload.request_bytes)} of request"),
        ("Its lines in the log", f"{number(workload.log_bytes)} bytes"),
        ("The day", f"the busiest hour has {number(workload.busiest)} times the mean"),
        ("Starts of environments", f"{workload.cold_share:.2%} of the requests"),
        (
            "Lambda",
            f"{function.memory} MB, {function.architecture}, {function.front_door}, " + _readiness(function),
        ),
        (
            "Fargate",
            f"tasks of {number(tasks.vcpu)} vCPU and {number(tasks.memory)} GB, {tasks.architecture}, each for "
            f"{tasks.streams_per_task} streams with {tasks.headroom:.0%} left free, at least {tasks.least}",
        ),
        (
            "Managed Instances",
            f"{instances.instance}, each for {instances.streams_per_instance} streams with {instances.headroom:.0%} "
            f"left free, at least {instances.least}",
        ),
        ("Not in the bills", "; ".join(answer.left_out)),
        ("Prices", "; ".join(dict.fromkeys(line.source for bill in answer.bills for line in bill.lines))),
    ]


def _readiness(function: OnLambda) -> str:
    if function.provisioned:
        return f"{function.provisioned} environments provisioned"
    return f"SnapStart, {function.versions} versions kept" if function.snapstart else "on demand"


def method(results: Results) -> Pairs:
    profile, ends = results.profile, results.limits
    return [
        ("When", f"{results.began:%Y-%m-%d %H:%M} to {results.ended:%H:%M} UTC"),
        ("Load", f"{profile.name}: " + ", ".join(f"{name} {value}" for name, value in profile.parameters.items())),
        ("Seed", str(results.seed)),
        ("Warm-up, in no figure", f"{number(results.warmup)} s"),
        ("Would have ended by itself", f"after {number(ends.seconds)} s, {ends.requests} requests{_dollars(results)}"),
        (
            "Load's own CPU",
            f"{results.client.cpu_share:.0%} of one core; woke up {number(results.client.lag)} ms late (p99)",
        ),
        ("From", f"{results.machine.system}, {results.machine.cores} cores, Python {results.machine.python}"),
        *((f"Target {target.name}", _target(target)) for target in results.targets),
    ]


def _dollars(results: Results) -> str:
    ends = results.limits
    if ends.dollars is None:
        return ""
    return f" or ${ends.dollars:,.2f}; spent {'an unknown sum' if ends.spent is None else f'${ends.spent:,.4f}'}"


def _target(target: Target) -> str:
    home = target.home or "a home that it does not tell"
    traffic = target.traffic
    note = f" ({target.note})" if target.note else ""
    told = (
        f"{target.url}, in {home}{note}; {number(traffic.held)} streams at once (mean), {traffic.held_most} at the most"
    )
    if target.usage:
        told += f"; {number(target.usage.cores)} cores, {number(target.usage.memory / 1024**2)} MB"
    return told


def limits(results: Results | None, answer: Answer | None) -> list[str]:
    return [*(_LIMITS_OF_SPEED if results else ()), *(_LIMITS_OF_COST if answer else ())]
