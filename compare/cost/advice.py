"""Why one home rather than the other, and what would change that: from the figures, in sentences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from compare.cost import on_fargate, on_lambda
from compare.cost.bill import TITLES, Bill, Home, money, number
from compare.cost.curves import Flip, next_flip
from compare.cost.deployment import Deployment, OnLambda
from compare.cost.workload import Workload

# The concurrency that a region of an account has where nobody asked for more; new accounts may have less.
_QUOTA: Final = 1000
# Fargate adds tasks within minutes: a busiest hour of so many times the mean is a spike to it.
_SPIKE: Final = 5
_INTERMITTENT: Final = 0.3
_STEADY: Final = 2


@dataclass(frozen=True, slots=True)
class Case:
    deployment: Deployment
    workload: Workload
    bills: Mapping[Home, Bill]
    flips: Sequence[Flip]
    choice: Home


Rule = Callable[[Case], str | None]


def excluded(workload: Workload) -> frozenset[Home]:
    """Those that cannot carry such streams at all: Lambda and what is in front of it end one after 15 minutes."""
    longest = max(workload.longest_seconds or 0, workload.stream_seconds)
    return frozenset(("lambda", "managed_instances")) if longest > on_lambda.LONGEST_SECONDS else frozenset()


def sentence(case: Case) -> str:
    """The answer."""
    mine = case.bills[case.choice]
    traffic = f"{number(case.workload.streams_per_hour)} streams an hour of {number(case.workload.stream_seconds)} s"
    others = ", ".join(
        f"{money(bill.usd)} on {TITLES[home]}" for home, bill in case.bills.items() if home != case.choice
    )
    return f"{TITLES[case.choice]}: {money(mine.usd)} a month for {traffic}{', against ' + others if others else ''}."


def reasons(case: Case) -> list[str]:
    return [text for rule in _REASONS if (text := rule(case))]


def would_change(case: Case) -> list[str]:
    return [text for rule in _CHANGES if (text := rule(case))]


def _too_long(case: Case) -> str | None:
    if "lambda" not in excluded(case.workload):
        return None
    longest = max(case.workload.longest_seconds or 0, case.workload.stream_seconds)
    return (
        f"Streams take up to {number(longest)} s, and Lambda ends every one after 900 s: only Fargate can carry them."
    )


def _own_costs(case: Case) -> str:
    own = ", ".join(f"{TITLES[home]} {money(bill.own_usd)}" for home, bill in case.bills.items())
    shared = next(iter(case.bills.values()))
    return (
        f"Of this, {money(shared.usd - shared.own_usd)} is for what all homes stand on (database, NAT, logs). "
        f"What differs: {own}."
    )


def _waiting(case: Case) -> str:
    workload, gigabytes = case.workload, case.deployment.on_lambda.gigabytes
    tasks = on_fargate.tasks(case.deployment.on_fargate, workload)
    return (
        f"{number(workload.open_streams)} streams are open on the average, {number(workload.open_at_peak)} in the "
        f"busiest hour. Lambda pays for as many environments of {number(gigabytes)} GB for as long as they wait for "
        f"the model; on Fargate they share {number(tasks.mean)} tasks (at most {tasks.most})."
    )


def _intermittent(case: Case) -> str | None:
    share = case.workload.quiet_share
    if share < _INTERMITTENT:
        return None
    least = case.deployment.on_fargate.least
    return (
        f"In {share:.0%} of the hours there is less than one stream: Lambda costs "
        f"{_idle(case.deployment.on_lambda)} then, {least} tasks are paid for as ever."
    )


def _idle(chosen: OnLambda) -> str:
    if chosen.provisioned:
        return "what is kept ready"
    return "no more than its snapshot" if chosen.snapstart else "nothing"


def _steady(case: Case) -> str | None:
    if case.workload.busiest > _STEADY or case.workload.open_streams < 1:
        return None
    return "The traffic is steady: somebody always waits for the model, so tasks are never idle."


def _provisioned(case: Case) -> str | None:
    ready = sum(line.usd for line in case.bills["lambda"].lines if line.what.startswith("Provisioned"))
    if not ready:
        return None
    share = ready / case.bills["lambda"].own_usd
    return (
        f"Provisioned concurrency is {share:.0%} of what Lambda costs by itself. What it buys, no cold start, a task "
        "has anyway: much of it speaks for Fargate."
    )


def _crossing(case: Case) -> str | None:
    at = case.workload.streams_per_hour
    above = next_flip(case.flips, at)
    below = max((flip for flip in case.flips if flip.streams_per_hour <= at), key=_streams, default=None)
    told = [f"{TITLES[above.above]} above {number(above.streams_per_hour)} streams an hour"] if above else []
    told += [f"{TITLES[below.below]} below {number(below.streams_per_hour)} streams an hour"] if below else []
    return f"With streams of this length the cheaper home is {' and '.join(told)}." if told else None


def _streams(flip: Flip) -> float:
    return flip.streams_per_hour


def _longer(case: Case) -> str:
    return (
        "Longer answers speak for Fargate, shorter ones for Lambda: the map shows both. Twice as long streams cost "
        "Lambda twice the duration."
    )


def _spikes(case: Case) -> str | None:
    if case.workload.busiest < _SPIKE:
        return None
    return (
        f"The busiest hour has {number(case.workload.busiest)} times the mean. Lambda follows within seconds, Fargate "
        "within minutes: the sums let tasks follow by the hour, so keep more of them running, or expect 503s."
    )


def _quota(case: Case) -> str | None:
    if case.workload.open_at_peak < _QUOTA:
        return None
    return (
        f"{number(case.workload.open_at_peak)} streams at once are more than the {_QUOTA} environments that an "
        "account has in a region unless it asks for more."
    )


def _cold_starts(case: Case) -> str | None:
    chosen = case.deployment.on_lambda
    if chosen.provisioned or case.choice != "lambda":
        return None
    kind = "restored from a snapshot" if chosen.snapstart else "started"
    return (
        f"{case.workload.cold_share:.1%} of the requests wait for an environment to be {kind}. If that is too slow, "
        "provisioned concurrency or Fargate ends it; work out the bill again with `--provisioned`."
    )


def _fifteen_minutes(case: Case) -> str | None:
    if case.choice == "fargate":
        return None
    return "Answers that may take more than 15 minutes need Fargate, whatever they cost."


_REASONS: Final[tuple[Rule, ...]] = (_too_long, _own_costs, _waiting, _intermittent, _steady, _provisioned)
_CHANGES: Final[tuple[Rule, ...]] = (_crossing, _longer, _spikes, _quota, _cold_starts, _fifteen_minutes)
