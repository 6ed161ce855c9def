"""Chat Completions whose instance goes away: never an end that looks like a whole answer."""

import asyncio
from typing import Any

import httpx

from local.upstream import SimulatedUpstream
from tests.support.headwater import frames, until
from tests.support.service import Service, StartService

PATH = "/v1/chat/completions"
BODY = {
    "model": "sim-ok?rate=50&tokens=3000&first_ms=0",
    "messages": [{"role": "user", "content": "Hello."}],
    "stream": True,
    "stream_options": {"include_usage": True},
}


def assert_interrupted(body: str) -> None:
    *told, last, done = [frame.data for frame in frames(body)]
    assert done == "[DONE]"
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "interrupted")
    assert told
    assert {choice["finish_reason"] for chunk in told for choice in chunk["choices"]} == {None}
    assert {chunk["usage"] for chunk in told} <= {None}


async def read(client: httpx.AsyncClient, begun: asyncio.Event, ids: list[str]) -> str:
    body = b""
    async with client.stream("POST", PATH, json=BODY) as response:
        ids.append(response.headers["x-completion-id"])
        async for piece in response.aiter_bytes():
            body += piece
            if body.count(b'"content"') > 5:
                begun.set()
    return body.decode()


async def test_drained(service: Service, start_service: StartService) -> None:
    draining = await start_service(drain_grace=0.3)
    begun = asyncio.Event()
    async with draining.client() as client, asyncio.TaskGroup() as group:
        reading = group.create_task(read(client, begun, []))
        await begun.wait()
        draining.terminate()
    assert_interrupted(reading.result())
    assert await draining.ended() == 0


async def test_whole_answers_that_are_drained(start_service: StartService, upstream: SimulatedUpstream) -> None:
    """Told by a status that makes clients ask again."""
    draining = await start_service(drain_grace=0.3)
    async with draining.client() as client, asyncio.TaskGroup() as group:
        asked = group.create_task(client.post(PATH, json={**BODY, "stream": False}))
        await until(lambda: upstream.requests)
        draining.terminate()
    response = asked.result()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "interrupted"


async def test_killed(start_service: StartService, upstream: SimulatedUpstream) -> None:
    """Whoever reads on elsewhere hears of it, in the same dialect."""
    lease: dict[str, Any] = {"lease": 2, "control_tick": 0.3}
    doomed, other = await start_service(**lease), await start_service(**lease)
    ids: list[str] = []
    begun = asyncio.Event()
    async with doomed.client() as client, other.client(doomed.key) as elsewhere:
        reading = asyncio.ensure_future(read(client, begun, ids))  # noqa: TID251 - awaited below
        await begun.wait()
        await asyncio.sleep(0.5)
        doomed.kill()
        (broken,) = await asyncio.gather(reading, return_exceptions=True)
        assert isinstance(broken, httpx.TransportError)
        rest = await elsewhere.get(f"/v1/completions/{ids[0]}/stream", params={"dialect": "openai_chat"})
    told = [frame.data for frame in frames(rest.text)]
    assert told[-1] == "[DONE]"
    assert told[-2]["error"]["code"] == "interrupted"
    assert told[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {choice["finish_reason"] for chunk in told[:-2] for choice in chunk["choices"]} == {None}
