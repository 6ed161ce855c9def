"""Functions that were stopped behind their hooks, as publishing a version with SnapStart does."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from local.aws_lambda.running import Lambda, running_lambda
from tests.runtimes.homes.targets import Surroundings, beside_the_adapter, handler

# By name: how environments are made, and the front door.
SNAPSTART: Final[dict[str, tuple[Any, str]]] = {
    "adapter": (beside_the_adapter(hooks=True), "url"),
    "mangum": (handler(), "http"),
}


@dataclass(frozen=True)
class Snapshot:
    """`taken` is by the clock of `time.monotonic`."""

    emulated: Lambda
    taken: float
    service_name: str


@asynccontextmanager
async def snapshot(around: Surroundings, name: str) -> AsyncIterator[Snapshot]:
    """Two environments, each with a start of its own: copies of one memory are what this machine cannot make."""
    make, front_door = SNAPSTART[name]
    service_name = f"snapshot-{name}"
    function = around.function(settings={"service_name": service_name}, snapstart=True)
    with around.log(service_name) as log:
        async with running_lambda(function, make(around, log), front_door=front_door) as emulated:
            for _ in range(2):
                await emulated.service.take_snapshot()
            yield Snapshot(emulated, time.monotonic(), service_name)
