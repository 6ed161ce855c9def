"""Rules of thumb for ten million short requests a month (500 ms, 512 MB), beside what they really come to."""

from dataclasses import dataclass
from typing import Final

from compare.cost import on_fargate, on_lambda
from compare.cost.bill import Line, money
from compare.cost.deployment import OnFargate, OnLambda
from compare.cost.prices import Prices
from compare.cost.workload import Workload

STREAMS: Final = 10_000_000
_MEMORY: Final = 512


@dataclass(frozen=True, slots=True)
class Row:
    """`quoted` is the rule's figure; `lines` make ours, `difference` is why they are not the same."""

    what: str
    quoted: str
    lines: list[Line]
    difference: str

    @property
    def usd(self) -> float:
        return sum(line.usd for line in self.lines)


def rows(prices: Prices) -> list[Row]:
    """On arm64, as is deployed here, but for the rule's own task. What the homes share is in none."""
    workload = Workload(streams_per_hour=STREAMS / prices.hours, stream_seconds=0.5, bytes=0, cold_share=0.001, peak=1)

    def of_function(**chosen: object) -> list[Line]:
        function = OnLambda(memory=_MEMORY, init_seconds=0, front_door="function_url", **chosen)  # type: ignore[arg-type]
        return [line for line in on_lambda.lines(function, workload, prices) if line.counts]

    def of_tasks(count: int, architecture: str) -> list[Line]:
        tasks = OnFargate(vcpu=1, memory=2, least=count, architecture=architecture)  # type: ignore[arg-type]
        return [line for line in on_fargate.lines(tasks, workload, prices) if line.counts]

    one = of_tasks(1, "x86")
    return [
        Row("Lambda, on demand", "about $10", of_function(snapstart=False), _ON_DEMAND),
        Row("Lambda, 10 provisioned", "about $85", of_function(provisioned=10), _PROVISIONED),
        Row("Lambda, SnapStart, 0.1 % restores", "about $10, SnapStart being free", of_function(), _SNAPSTART),
        Row("Fargate, one task of 1 vCPU and 2 GB, x86", "about $35", one[:2], _TASK),
        Row("Fargate, that task with its load balancer", "-", one, _BALANCER),
        Row("Fargate, two such tasks on arm64", "-", of_tasks(2, "arm64"), _TWO),
    ]


def markdown(prices: Prices) -> str:
    """The table as docs/compare.md has it, and the arithmetic of each row below."""
    table = [
        "| ten million requests a month | rule of thumb | worked out | the difference |",
        "| --- | --- | --- | --- |",
    ]
    sums = []
    for row in rows(prices):
        table.append(f"| {row.what} | {row.quoted} | {money(row.usd)} | {row.difference} |")
        sums += [f"- **{row.what}**", *(f"  - {line.what}: {line.arithmetic}" for line in row.lines)]
    return "\n".join([*table, "", *sums])


_ON_DEMAND: Final = (
    "The duration is 2.5 million GB-s, which alone are $33.33; $10 buys 120 ms of 512 MB, or 500 ms of 123 MB. With "
    "the free tier it is $29.80; on x86 $43.67, or $36.80 with it."
)
_PROVISIONED: Final = (
    "1.9 requests run at once, so ten environments take all of them, for 42 % less a GB-s. $85 is what 14 or 15 "
    "cost, or 11 on x86. Two, at $30.20, cost less than on demand."
)
_SNAPSTART: Final = (
    "It is free for Java. Python pays for the snapshot by the second, as long as its version is active, and for each "
    "restore: at 1 % restores it is $44.30."
)
_TASK: Final = "The same: what the rule has is one task on x86, with nothing in front of it."
_BALANCER: Final = "A task alone has no address that stays, so its load balancer belongs to the bill."
_TWO: Final = "One task is no service: while it is replaced, nobody answers."
