"""A run from its plan to its results."""

import asyncio
import gc
import os
import platform
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from compare.load.address import Address
from compare.load.asking import Asker
from compare.load.limits import Budget
from compare.load.processes import Processes
from compare.load.profiles import Load
from compare.load.runner import Runner
from compare.load.watch import Watch, tell, warnings
from compare.results import Client, Machine, Results

_FEW = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """`warmup` seconds at the beginning are in no figure; `seed` makes the same arrivals again.

    `processes` are those of targets on this machine, `notes` what the results say of targets, by the targets' names.
    """

    addresses: Sequence[Address]
    load: Load
    asker: Asker
    warmup: float
    seed: int
    processes: Mapping[str, Processes]
    notes: Mapping[str, str] = field(default_factory=dict)


async def measure(plan: Plan, budget: Budget, say: Callable[[str], None], every: float = 1.0) -> Results:
    """Ends by itself, or by SIGINT; what there is by then is in the results. `say` gets a line of progress."""
    began = datetime.now(UTC)
    arrivals = plan.load.arrivals(random.Random(plan.seed))
    _leave_garbage()
    runner = Runner(plan.addresses, arrivals, plan.asker, budget, plan.warmup)
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, ValueError, RuntimeError):  # not the main thread
        loop.add_signal_handler(signal.SIGINT, runner.interrupt)
    beside = [loop.create_task(tell(lambda: _progress(runner), say, every))]
    beside += [loop.create_task(processes.watch()) for processes in plan.processes.values()]
    try:
        async with Watch() as watch:
            await runner.run()
            client = watch.told(*runner.measured)
    finally:
        for task in beside:
            task.cancel()
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.remove_signal_handler(signal.SIGINT)
    return _results(plan, budget, runner, client, began)


def _leave_garbage() -> None:
    """A full collection stops every stream for as long as it takes, which would be in the figures."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


def _progress(runner: Runner) -> str:
    each = (
        f"{record.address.name} {record.done} done, {record.open} open"
        + (f", {record.failed} failed" * bool(record.failed))
        for record in runner.records
    )
    return f"{runner.elapsed:5.0f} s  " + "   ".join(each)


def _results(plan: Plan, budget: Budget, runner: Runner, client: Client, began: datetime) -> Results:
    began_measuring, over = runner.measured
    usage = {name: processes.told(began_measuring, over) for name, processes in plan.processes.items()}
    names = [record.address.name for record in runner.records]
    targets = [
        record.target(over - began_measuring, usage.get(name), plan.notes.get(name))
        for record, name in zip(runner.records, names, strict=True)
    ]
    said = warnings(client)
    if runner.left:
        said.append(f"{runner.left} streams were still open at the interrupt, and are in no figure.")
    said += [
        f"{target.name} had {target.counts.requests} requests after the warm-up: too few for the rarer quantiles."
        for target in targets
        if target.counts.requests < _FEW
    ]
    return Results(
        began=began,
        ended=datetime.now(UTC),
        machine=Machine(f"{platform.system()} {platform.machine()}", os.cpu_count() or 1, platform.python_version()),
        profile=plan.load.told(),
        seed=plan.seed,
        limits=budget.told(),
        warmup=plan.warmup,
        client=client,
        targets=targets,
        warnings=said,
    )
