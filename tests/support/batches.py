"""Batches as their engine drives them: its steps, one at a time, sent as Lambda's web adapter sends them."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import httpx
import msgspec

from local.upstream import RecordedRequest, SimulatedUpstream
from tests.support.aws import MACHINE, Aws, running_aws
from tests.support.log_lines import check_logs
from tests.support.on_lambda import FUNCTION, of_caller, send_event
from tests.support.postgres import Postgres
from tests.support.service import Service, Services, make_key

PATH = "/v1/batches"
_numbers = itertools.count(1)


def model(fault: str = "ok", **directives: object) -> str:
    """A name that nobody else asks for."""
    told = "&".join(f"{name}={value}" for name, value in ({"first_ms": 0} | directives).items())
    return f"sim-{fault}?{told}&key=b{next(_numbers)}"


def request(asked: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"model": asked or model(tokens=3), "input": "Hello.", "max_tokens": 50} | fields


def items(*models: str) -> list[dict[str, Any]]:
    """One a model, called 1, 2, 3, …"""
    return [{"custom_id": str(n), "request": request(asked)} for n, asked in enumerate(models, 1)]


@dataclass
class Function:
    """Its instances: the first (`front`) answers callers, the last (`worker`) is invoked by the engine.

    `approver` is a client of the first whose key may approve, and no more.
    """

    front: httpx.AsyncClient
    worker: httpx.AsyncClient
    approver: httpx.AsyncClient
    admin: httpx.AsyncClient
    services: list[Service]
    aws: Aws
    upstream: SimulatedUpstream
    database_url: str
    folder: Path

    async def create(self, *models: str, **options: Any) -> str:
        """The id of a batch with an item for each of these models."""
        response = await self.front.post(PATH, json={"items": items(*models), **options}, headers=of_caller())
        assert response.status_code == 201, response.text
        id: str = response.json()["id"]
        return id

    async def step(self, name: str, id: str, seconds: float = 60, **fields: Any) -> Any:
        """What the engine is answered, in the batch's present round where no other is named."""
        rounds = self.rows("SELECT round FROM batches WHERE id = %s", id)
        event = {"headwater": f"batch_{name}", "batch_id": id, "round": rounds[0][0] if rounds else 1, **fields}
        response = await send_event(self.worker, event, seconds)
        assert response.status_code == 200, response.text
        return response.json()

    async def item(self, id: str, position: int = 1, seconds: float = 60) -> Any:
        return await self.step("item", id, seconds, position=position)

    async def run(self, id: str) -> Any:
        """Plan, all items one after another as far as they may, and what comes next."""
        for position in (await self.step("plan", id))["items"]:
            if (await self.item(id, position))["outcome"] == "stop":
                break
        return await self.step("settle", id)

    async def wait(self, id: str, **fields: Any) -> str:
        """The token that the engine now waits by."""
        token = f"the-token-of-a-task-{next(_numbers)}"
        self.aws.waiting.add(token)
        await self.step("wait", id, token=token, **fields)
        return token

    async def maintain(self) -> None:
        response = await send_event(self.worker, {"headwater": "maintenance"})
        assert response.status_code == 200, response.text

    async def get(self, id: str) -> dict[str, Any]:
        response = await self.front.get(f"{PATH}/{id}", headers=of_caller())
        assert response.status_code == 200, response.text
        batch: dict[str, Any] = response.json()
        return batch

    async def post(self, id: str, what: str, *, by: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (by or self.front).post(f"{PATH}/{id}/{what}", headers=of_caller())

    async def results(self, id: str) -> list[dict[str, Any]]:
        response = await self.front.get(f"{PATH}/{id}/results", headers=of_caller())
        assert response.status_code == 200, response.text
        return [msgspec.json.decode(line) for line in response.text.splitlines()]

    def asked(self, model: str) -> list[RecordedRequest]:
        return [request for request in self.upstream.requests if (request.body or {}).get("model") == model]

    def rows(self, query: LiteralString, *parameters: Any) -> list[Any]:
        with Postgres.connect(self.database_url) as conn:
            return conn.execute(query, parameters).fetchall()

    def execute(self, query: LiteralString, *parameters: Any) -> None:
        with Postgres.connect(self.database_url) as conn:
            conn.execute(query, parameters)

    def events(self, id: str) -> list[dict[str, Any]]:
        """The batch's log."""
        found = self.rows("SELECT seq, type, data FROM batch_events WHERE batch_id = %s ORDER BY seq", id)
        assert [seq for seq, _, _ in found] == list(range(1, len(found) + 1))
        return [{"type": type, **msgspec.json.decode(data)} for _, type, data in found]


@asynccontextmanager
async def running_function(
    postgres: Postgres, folder: Path, *, instances: int = 1, **settings: Any
) -> AsyncIterator[Function]:
    database_url = postgres.create_database()
    try:
        with running_aws() as aws:
            async with SimulatedUpstream() as upstream:
                services = Services(folder, database_url, upstream.url)
                chosen: dict[str, Any] = {
                    "home": "lambda",
                    "workflow": MACHINE,
                    # Two maintenance runs may be 5 ms apart here, and the second is to look as well.
                    "workflow_interval": 1e-6,
                    "control_tick": 0.3,
                    "max_retries": 0,
                    **settings,
                }
                start = partial(services.start, environment=FUNCTION | aws.environment, **chosen)
                try:
                    started = [await start() for _ in range(instances)]
                    front, worker = started[0], started[-1]
                    async with front.client(front.admin_key) as admin:
                        approving = await make_key(admin, "batches:approve")
                        async with front.client() as one, worker.client() as other, front.client(approving) as approver:
                            yield Function(one, other, approver, admin, started, aws, upstream, database_url, folder)
                finally:
                    services.end()
                check_logs(folder, upstream.requests)
    finally:
        postgres.drop_database(database_url)
