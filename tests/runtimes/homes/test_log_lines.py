"""The log of the images on Lambda: a line has its own request's values, whoever its environment serves besides.

Two things could mix them up. What one request leaves behind in an environment: a few environments, frozen between
requests, have those of many tenants in turn. And what runs at the same time: environments that have many requests at
once, as on Managed Instances, where nothing is frozen.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.runtimes.homes.results import MEASURED
from tests.runtimes.homes.targets import BUFFERED_IMAGE, IMAGE, Home, Start, Surroundings, function, image
from tests.support import log_lines
from tests.support.log_lines import Line
from tests.support.sent import Sent, ask, check_sent
from tests.support.service import ADMIN_KEY, make_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANTS: Final = 30
STREAMS: Final = 300
ENVIRONMENTS: Final = 5
TOLD: Final = {"emf": "true"}
FROZEN: Final[dict[str, Start]] = {
    "Lambda image, URL": function(image(IMAGE), "url", environments=ENVIRONMENTS, settings=TOLD),
    "Mangum image, HTTP API": function(image(BUFFERED_IMAGE), "http", environments=ENVIRONMENTS, settings=TOLD),
}
AT_ONCE: Final = function(
    image(IMAGE), "url", concurrency=STREAMS // ENVIRONMENTS, environments=ENVIRONMENTS, settings=TOLD
)


@pytest.mark.parametrize(
    ("name", "count"), [("Lambda image, URL", STREAMS), ("Mangum image, HTTP API", 60)], ids=FROZEN
)
async def test_environments_that_freeze_between_the_requests_of_many_tenants(
    around: Surroundings, name: str, count: int, record_property: Callable[[str, object], None]
) -> None:
    async with FROZEN[name](around) as home:
        sent = await _ask(home, count, at_once=ENVIRONMENTS - 1, rate=2000, stream=name.startswith("Lambda"))
        assert home.emulated is not None
        account = home.emulated.service.account
    found = _lines(home)
    check_sent(found, sent, _usages(around))
    requests = [line for line in log_lines.requests(found) if "completion_id" in line]
    by_environment = {
        instance: [line["tenant"] for line in requests if line["instance"] == instance]
        for instance in {line["instance"] for line in requests}
    }
    assert 1 < len(by_environment) <= len(account.inits) == ENVIRONMENTS
    turns = sum(before != after for tenants in by_environment.values() for before, after in itertools.pairwise(tenants))
    assert turns > count / 2  # mostly it was another tenant's turn
    _check_starts(found, len(account.inits))
    record_property(MEASURED, f"{len(sent)} requests in {len(by_environment)} environments, {turns} turns of tenants")


async def test_hundreds_of_streams_at_once(
    around: Surroundings, record_property: Callable[[str, object], None]
) -> None:
    async with AT_ONCE(around) as home:
        sent = await _ask(home, STREAMS, at_once=STREAMS, rate=50)
    found = _lines(home)
    check_sent(found, sent, _usages(around))
    served = Counter(line["instance"] for line in log_lines.completions(found))
    assert len(served) == ENVIRONMENTS
    _check_starts(found, ENVIRONMENTS)
    together = _most_at_once(log_lines.completions(found))
    assert together > STREAMS / 3
    record_property(MEASURED, f"{len(sent)} requests in {len(served)} environments, at most {together} at once")


async def _ask(home: Home, count: int, *, at_once: int, **chosen: Any) -> list[Sent]:
    """The tenants take turns."""
    async with _patient(home, ADMIN_KEY) as admin:
        keys = await asyncio.gather(*(make_key(admin, tenant=f"tenant-{number}") for number in range(TENANTS)))
    places = asyncio.Semaphore(at_once)
    async with _patient(home) as client:

        async def one(number: int) -> Sent:
            tenant = number % TENANTS
            async with places:
                return await ask(client.post, f"tenant-{tenant}", number, {"x-api-key": keys[tenant]}, **chosen)

        return await asyncio.gather(*map(one, range(count)))


def _patient(home: Home, key: str | None = None) -> httpx.AsyncClient:
    transport = _Patient(limits=httpx.Limits(max_connections=None))
    return httpx.AsyncClient(
        base_url=home.url, headers={"x-api-key": key} if key else {}, timeout=60, transport=transport
    )


class _Patient(httpx.AsyncHTTPTransport):
    """Asks again while the front door has no environment: the last ones are just being frozen."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        while True:
            response = await super().handle_async_request(request)
            if response.status_code not in (429, 503) or "request-id" in response.headers:
                return response
            await response.aread()
            await asyncio.sleep(0.1)


def _lines(home: Home) -> list[Line]:
    """Those of the application, all in their form: the adapter and the runtime have their own beside them."""
    assert isinstance(home.log, Path)
    lines = [json.loads(line) for line in home.log.read_text().splitlines() if line.startswith("{")]
    found = [line for line in lines if line.get("service") == "headwater" or log_lines.is_metrics(line)]
    for line in found:
        log_lines.check(line)
    return found


def _usages(around: Surroundings) -> dict[str, dict[str, Any]]:
    return {request.body["model"]: request.usage for request in around.upstream.requests if request.usage}


def _check_starts(found: list[Line], environments: int) -> None:
    """A cold start is told once per environment, and somebody waited for it."""
    for told in (
        [line for line in found if line.get("message") == "instance started"],
        [line for line in log_lines.requests(found) if line["cold_start"]],
        [line for line in found if "ColdStart" in line],
    ):
        assert len(told) == environments


def _most_at_once(completions: list[Line]) -> int:
    """By their ends and how long they took."""
    ends = [(datetime.fromisoformat(line["timestamp"]).timestamp(), line["duration_ms"] / 1000) for line in completions]
    changes = sorted([*((end - took, 1) for end, took in ends), *((end, -1) for end, _ in ends)])
    return max(itertools.accumulate(change for _, change in changes))
