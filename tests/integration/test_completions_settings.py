"""Settings that completions obey."""

import asyncio
from typing import Any, Final

from local.upstream import SimulatedUpstream
from tests.support.api import StartApi
from tests.support.headwater import until

BODY: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 2000}
# Ten seconds long, unless somebody ends it.
LONG: Final = BODY | {"model": "sim-ok?rate=20&tokens=200"}


async def test_location_of_a_public_address(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, public_url="https://headwater.example/llm/")
    client = await api.client_with()
    response = await client.post("/v1/completions", json=BODY)
    id = response.headers["x-completion-id"]
    assert response.headers["location"] == f"https://headwater.example/llm/v1/completions/{id}"
    made = await client.post("/v1/conversations", json={})
    assert made.headers["location"] == f"https://headwater.example/llm/v1/conversations/{made.json()['id']}"


async def test_no_room(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, max_streams=1, peek_timeout=0.1)
    client = await api.client_with()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.post("/v1/completions", json=LONG))
        await until(lambda: upstream.requests)
        full = await client.post("/v1/completions", json=BODY)
        (running_one,) = (await client.get("/v1/completions")).json()["data"]
        await client.post(f"/v1/completions/{running_one['id']}/cancel")
    assert (full.status_code, full.json()["type"], full.headers["retry-after"]) == (503, "/problems/full", "1")
    assert (await client.post("/v1/completions", json=BODY)).status_code == 200
