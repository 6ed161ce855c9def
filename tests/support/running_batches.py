"""Batches that a whole installation runs: its engine, its function, and an instance beside them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import boto3
import httpx
import psutil

from tests.runtimes.launched import Launched
from tests.support.headwater import until
from tests.support.postgres import Postgres
from tests.support.service import make_key

# Tries of the upstream are the engine's; and what a killed process leaves is noticed sooner.
SETTINGS: Final = {"HEADWATER_MAX_RETRIES": "0", "HEADWATER_LEASE": "4", "HEADWATER_CONTROL_TICK": "0.5"}
FINAL: Final = ("completed", "failed", "cancelled", "rejected", "expired")
# Environments start side by side on a machine that may be busy.
PATIENCE: Final = 120.0
_PATH: Final = "/v1/batches"
_keys = itertools.count(1)


def model(fault: str = "ok", *, tokens: int = 5, rate: int = 20, **directives: object) -> str:
    """One that nobody else asks for."""
    told = {"tokens": tokens, "rate": rate, "first_ms": 0, "key": f"w{next(_keys)}", **directives}
    return f"sim-{fault}?" + "&".join(f"{name}={value}" for name, value in told.items())


@dataclass(frozen=True)
class Told:
    """One event of a batch's stream."""

    seq: int
    type: str
    data: dict[str, Any]


@dataclass
class Batches:
    """`function` is by the Lambda front door, `beside` an instance of its own.

    `approver` may approve and no more, `admin` makes keys and changes them.
    """

    function: httpx.AsyncClient
    beside: httpx.AsyncClient
    approver: httpx.AsyncClient
    admin: httpx.AsyncClient
    engine: Any
    run: dict[str, Any]
    launcher: psutil.Process

    async def create(self, models: Sequence[str], *, key: str | None = None, **options: Any) -> str:
        """The id of a batch with an item for each of these models, called by their numbers from 1 on."""
        by_key = {"authorization": f"Bearer {key}"} if key else None
        items = [
            {"custom_id": str(n), "request": {"model": asked, "input": "Hello.", "max_tokens": 500}}
            for n, asked in enumerate(models, 1)
        ]
        response = await self.beside.post(_PATH, json={"items": items, "parallelism": 4, **options}, headers=by_key)
        assert response.status_code == 201, response.text
        id: str = response.json()["id"]
        return id

    async def get(self, id: str) -> dict[str, Any]:
        response = await self.beside.get(f"{_PATH}/{id}")
        assert response.status_code == 200, response.text
        batch: dict[str, Any] = response.json()
        return batch

    async def post(self, id: str, what: str, *, by: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (by or self.beside).post(f"{_PATH}/{id}/{what}")

    async def results(self, id: str) -> httpx.Response:
        return await self.beside.get(f"{_PATH}/{id}/results")

    async def waits(self, id: str) -> None:
        """Return when the engine waits for an answer."""
        waiting: LiteralString = "SELECT 1 FROM batches WHERE id = %s AND task_token IS NOT NULL"
        await until(lambda: bool(self.rows(waiting, id)), PATIENCE)

    async def becomes(self, id: str, *statuses: str) -> dict[str, Any]:
        """The batch, once it is one of these."""
        async with asyncio.timeout(PATIENCE):
            while (batch := await self.get(id))["status"] not in statuses:
                assert batch["status"] not in FINAL, batch
                await asyncio.sleep(0.2)
        return batch

    async def watch(self, id: str, cut_after: int) -> list[Told]:
        """All of its stream: so many events from one instance, then the rest from the other."""
        first = [event async for event in self._events(self.function, id, 0, cut_after)]
        return first + [event async for event in self._events(self.beside, id, first[-1].seq, None)]

    async def _events(self, client: httpx.AsyncClient, id: str, after: int, limit: int | None) -> AsyncIterator[Told]:
        headers = {"last-event-id": str(after)}
        async with client.stream("GET", f"{_PATH}/{id}/stream", headers=headers, timeout=PATIENCE) as response:
            assert response.status_code == 200, await response.aread()
            fields: dict[str, str] = {}
            seen = 0
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    yield Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                    fields, seen = {}, seen + 1
                    if seen == limit:
                        return

    async def upstream(self) -> list[dict[str, Any]]:
        """What it was asked, and how each request ended."""
        async with httpx.AsyncClient() as client:
            requests: list[dict[str, Any]] = (await client.get(f"{self.run['upstream_url']}/_sim/requests")).json()
        return requests

    def rows(self, query: LiteralString, *parameters: Any) -> list[Any]:
        with Postgres.connect(self.run["database_url"]) as conn:
            return conn.execute(query, parameters).fetchall()

    def execution(self, id: str, round: int) -> str:
        arn = self.run["workflow"].replace(":stateMachine:", ":execution:")
        status: str = self.engine.describe_execution(executionArn=f"{arn}:{id}-{round}")["status"]
        return status

    async def is_at_rest(self, id: str) -> None:
        """Return when nothing of it runs any more: no round's execution, no completion, no request, no open row."""
        rounds = range(1, (await self.get(id))["round"] + 1)
        await until(lambda: all(self.execution(id, round) == "SUCCEEDED" for round in rounds), PATIENCE)
        await until(lambda: not self.rows(_OPEN, id), PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while any(_is_open(request) for request in await self.upstream()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.2)

    def busy_workers(self) -> list[psutil.Process]:
        """Processes of the application that run an item at this moment: the others stand still."""
        return [
            process
            for process in self.launcher.children(recursive=True)
            if process.cmdline()[1:] == ["-m", "app"]
            and process.environ().get("AWS_LWA_INVOKE_MODE") == "buffered"
            and process.status() != psutil.STATUS_STOPPED
        ]


_OPEN: LiteralString = """
    SELECT i.position FROM batch_items i JOIN completions c ON c.id = i.completion_id
    LEFT JOIN ledger l ON l.completion_id = c.id
    WHERE i.batch_id = %s AND (c.status = 'streaming' OR l.settled_at IS NULL)
"""


def _is_open(request: dict[str, Any]) -> bool:
    return not request["finished"] and request["hung_up_at"] is None


@asynccontextmanager
async def opened(whole: Launched, beside: Launched) -> AsyncIterator[Batches]:
    run = whole.run
    by_key = {"authorization": f"Bearer {run['key']}"}
    engine = boto3.client(
        "stepfunctions",
        region_name="us-east-1",
        endpoint_url=run["workflow_url"],
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    async with (
        httpx.AsyncClient(base_url=beside.run["url"], headers={"x-api-key": run["admin_key"]}, timeout=30) as admin,
        httpx.AsyncClient(base_url=run["url"], headers=by_key, timeout=60) as function,
        httpx.AsyncClient(base_url=beside.run["url"], headers=by_key, timeout=30) as other,
        httpx.AsyncClient(base_url=beside.run["url"], timeout=30) as approver,
    ):
        approver.headers["authorization"] = f"Bearer {await make_key(admin, 'batches:approve')}"
        yield Batches(function, other, approver, admin, engine, run, psutil.Process(whole.process.pid))
