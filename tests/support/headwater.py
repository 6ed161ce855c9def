"""One instance of the service with an upstream and a database of its own, shared by the tests of one module."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import httpx
import msgspec

from local.upstream import RecordedRequest, SimulatedUpstream
from tests.support.log_lines import check_logs
from tests.support.postgres import Postgres
from tests.support.service import Service, Services


@dataclass(frozen=True)
class Headwater:
    """`folder` has the service's log."""

    service: Service
    upstream: SimulatedUpstream
    database_url: str
    folder: Path

    def client(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        return self.service.client(key, **options)

    def asked(self, model: str) -> list[RecordedRequest]:
        """What the upstream was asked with this model, oldest first."""
        return [request for request in self.upstream.requests if (request.body or {}).get("model") == model]

    def rows(self, query: LiteralString, *parameters: Any) -> list[Any]:
        with Postgres.connect(self.database_url) as conn:
            return conn.execute(query, parameters).fetchall()

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        query = """
            SELECT 'keys', count(*) FROM keys UNION ALL
            SELECT 'conversations', count(*) FROM conversations UNION ALL
            SELECT 'messages', count(*) FROM messages UNION ALL
            SELECT 'completions', count(*) FROM completions UNION ALL
            SELECT 'completion_events', count(*) FROM completion_events UNION ALL
            SELECT 'completion_logs', count(*) FROM completion_logs
        """
        return dict(self.rows(query))


@asynccontextmanager
async def running(
    postgres: Postgres, folder: Path, *, upstream_url: str | None = None, **settings: Any
) -> AsyncIterator[Headwater]:
    """`settings` are those of `app.config` by their names."""
    database_url = postgres.create_database()
    try:
        async with SimulatedUpstream() as upstream:
            services = Services(folder, database_url, upstream_url or upstream.url)
            try:
                yield Headwater(await services.start(**settings), upstream, database_url, folder)
            finally:
                services.end()
            check_logs(folder, upstream.requests)
    finally:
        postgres.drop_database(database_url)


async def until(condition: Callable[[], object], patience: float = 15) -> None:
    """Return when it holds."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Frame:
    """One event as an `EventSource` would have it; `data` is decoded unless it is no JSON."""

    event: str
    id: str | None
    data: Any


def frames(body: str) -> list[Frame]:
    """All events of a stream that ended cleanly."""
    assert body.endswith("\n\n"), "the last event is not whole"
    return [frame for block in body.removesuffix("\n\n").split("\n\n") if (frame := _frame(block)) is not None]


def _frame(block: str) -> Frame | None:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        if line.startswith(":"):
            continue
        name, separator, value = line.partition(": ")
        assert separator, f"not a field: {line!r}"
        assert name in ("event", "id", "data"), line
        assert name not in fields, block
        fields[name] = value
    if not fields:
        return None
    return Frame(fields.get("event", "message"), fields.get("id"), _decoded(fields["data"]))


def _decoded(data: str) -> Any:
    return data if data == "[DONE]" else msgspec.json.decode(data)


def text_of(events: list[Frame]) -> str:
    """The answer's text, in either dialect."""
    return "".join(_texts(events))


def _texts(events: list[Frame]) -> Iterator[str]:
    for frame in events:
        if frame.event == "message" and isinstance(frame.data, dict):
            yield frame.data["text"]
        elif frame.event == "content_block_delta":
            yield frame.data["delta"].get("text", "")


def assert_told(response: httpx.Response, status: int, code: str) -> None:
    """An error in the shape of its path, with the id of its request."""
    assert response.status_code == status, response.text
    assert response.headers["request-id"] == response.headers["x-request-id"]
    body = response.json()
    assert body["request_id"] == response.headers["request-id"]
    if response.request.url.path.startswith("/v1/messages"):
        assert response.headers["content-type"] == "application/json"
        assert (body["type"], body["error"]["details"]["error_code"]) == ("error", code)
        assert body["error"]["message"]
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert (body["type"], body["status"]) == (f"/problems/{code}", status)
        assert body["detail"]
