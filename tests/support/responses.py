"""Two instances on one database, and what tests of the Responses API ask of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local.upstream import SimulatedUpstream
from tests.support.postgres import Postgres
from tests.support.service import Service, Services, make_key
from tests.support.sse import SentEvent, sent_events

PATH = "/v1/responses"


@dataclass
class Pair:
    """`one` is the instance that tests begin at, `other` the one where they go on."""

    one: Service
    other: Service
    upstream: SimulatedUpstream
    database_url: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def model(self, directives: str = "tokens=3", fault: str = "ok") -> str:
        """A name of its own for each request, so that what the upstream was asked can be found."""
        return f"sim-{fault}?{directives}&first_ms=0&key=n{next(self._numbers)}"

    def asked(self, model: str) -> dict[str, Any]:
        """What the upstream was asked last with this model."""
        return [body for request in self.upstream.requests if (body := request.body or {}).get("model") == model][-1]

    async def foreign_key(self) -> str:
        """The secret of another tenant's key."""
        async with self.one.client(self.one.admin_key) as admin:
            return await make_key(admin, tenant="foreign")


@asynccontextmanager
async def running_pair(postgres: Postgres, folder: Path, **settings: Any) -> AsyncIterator[Pair]:
    database_url = postgres.create_database()
    try:
        async with SimulatedUpstream() as upstream:
            services = Services(folder, database_url, upstream.url)
            try:
                one = await services.start(**settings)
                yield Pair(one, await services.start(**settings), upstream, database_url)
            finally:
                services.end()
    finally:
        postgres.drop_database(database_url)


async def created(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={"input": "Hello", **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def streamed(client: httpx.AsyncClient, **body: Any) -> list[SentEvent]:
    response = await client.post(PATH, json={"input": "Hello", "stream": True, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"
    return sent_events(response.content)


async def read_on(client: httpx.AsyncClient, id: str, **params: Any) -> list[SentEvent]:
    response = await client.get(f"{PATH}/{id}", params={"stream": "true", **params})
    assert response.status_code == 200, response.text
    return sent_events(response.content)


async def retrieved(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    response = await client.get(f"{PATH}/{id}")
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def ended(client: httpx.AsyncClient, id: str, within: float = 10) -> dict[str, Any]:
    """Poll until it has ended."""
    async with asyncio.timeout(within):
        while True:
            response = await retrieved(client, id)
            if response["status"] not in ("queued", "in_progress"):
                return response
            await asyncio.sleep(0.05)


def error_of(response: httpx.Response) -> tuple[int, str | None, str | None]:
    """The status, the code and the field of an error, which must have OpenAI's shape."""
    assert response.headers["content-type"] == "application/json", response.text
    assert response.headers["x-request-id"].startswith("req_")
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return response.status_code, error["code"], error["param"]


def text_of(response: dict[str, Any]) -> str:
    return "".join(
        part.get("text", "") for item in response["output"] if item["type"] == "message" for part in item["content"]
    )
