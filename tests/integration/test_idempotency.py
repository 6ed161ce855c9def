"""Requests that are sent again under the same `Idempotency-Key`: one completion, one upstream request, one price."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.integration.test_limits import DIALECTS
from tests.support.headwater import Headwater, frames, text_of, until
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE: Final = {"peek_timeout": 0.5, "max_retries": 0}
REPLAYED: Final = "idempotent-replayed"
_numbers = itertools.count()


@pytest_asyncio.fixture(loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    """A tenant of the test's own, with an idempotency key for everything that it sends."""
    number = next(_numbers)
    async with headwater.client(headwater.service.admin_key) as admin:
        key = await make_key(admin, tenant=f"again-{number}")
    async with headwater.client(key) as client:
        client.headers["idempotency-key"] = "once"
        yield client


def of(path: str, model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model} | DIALECTS[path] | fields


def model() -> str:
    """One that the upstream has not been asked for yet."""
    return f"sim-ok?tokens=8&key=again-{next(_numbers)}"


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("path", DIALECTS)
async def test_sent_again_it_is_the_same_answer(
    client: httpx.AsyncClient, headwater: Headwater, path: str, stream: bool
) -> None:
    body = of(path, asked := model(), stream=stream)
    first = await client.post(path, json=body)
    second = await client.post(path, json=body)
    assert (first.status_code, second.status_code) == (200, 200)
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert second.headers["x-completion-id"] == first.headers["x-completion-id"]
    assert _without_keepalives(second.text) == _without_keepalives(first.text)
    assert len(headwater.asked(asked)) == 1


def _without_keepalives(body: str) -> str:
    return body.replace(": keepalive\n\n", "")


async def test_a_running_stream_is_read_from_its_start(client: httpx.AsyncClient, headwater: Headwater) -> None:
    body = of("/v1/completions", "sim-ok?rate=40&tokens=80&key=running")
    async with client.stream("POST", "/v1/completions", json=body) as first:
        lines = first.aiter_lines()
        async for line in lines:
            if line.startswith("id: 20"):
                break
        second = await client.post("/v1/completions", json=body)
    assert second.headers[REPLAYED] == "true"
    stored = (await client.get(f"/v1/completions/{second.headers['x-completion-id']}")).json()
    assert text_of(frames(second.text)) == stored["text"]
    assert len(headwater.asked("sim-ok?rate=40&tokens=80&key=running")) == 1


async def test_behind_a_position_it_is_read_on(client: httpx.AsyncClient) -> None:
    body = of("/v1/completions", model())
    whole = frames((await client.post("/v1/completions", json=body)).text)
    for last in whole:
        rest = await client.post("/v1/completions", json=body, headers={"last-event-id": str(last.id)})
        assert rest.status_code == 200
        assert frames(rest.text) == whole[whole.index(last) + 1 :]
    wrong = await client.post("/v1/completions", json=body, headers={"last-event-id": "x"})
    assert wrong.status_code == 400


@pytest.mark.parametrize("path", DIALECTS)
async def test_with_another_body_it_is_refused(client: httpx.AsyncClient, headwater: Headwater, path: str) -> None:
    await client.post(path, json=of(path, model()))
    refused = await client.post(path, json=of(path, other := model()))
    assert refused.status_code in (400, 422)
    assert "idempotency key" in refused.text
    assert headwater.asked(other) == []


async def test_on_another_path_it_is_refused(client: httpx.AsyncClient) -> None:
    body = of("/v1/completions", model())
    await client.post("/v1/completions", json=body)
    refused = await client.post("/v1/responses", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "idempotency_key_reused"


async def test_of_another_tenant_it_is_another_request(client: httpx.AsyncClient, headwater: Headwater) -> None:
    body = of("/v1/completions", asked := model())
    mine = await client.post("/v1/completions", json=body)
    async with headwater.client() as other:
        theirs = await other.post("/v1/completions", json=body, headers={"idempotency-key": "once"})
    assert theirs.headers["x-completion-id"] != mine.headers["x-completion-id"]
    assert len(headwater.asked(asked)) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"], ids=["empty", "long", "control"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    refused = await client.post("/v1/messages", json=of("/v1/messages", model()), headers={"idempotency-key": key})
    assert refused.status_code == 400
    assert refused.json()["error"]["details"]["error_code"] == "invalid_idempotency_key"


@pytest.mark.parametrize("path", DIALECTS)
async def test_a_failure_before_the_first_event_frees_the_key(
    client: httpx.AsyncClient, headwater: Headwater, path: str
) -> None:
    asked = f"sim-529?times=1&key=free-{next(_numbers)}"
    failed = await client.post(path, json=of(path, asked))
    assert failed.status_code >= 500
    again = await client.post(path, json=of(path, asked))
    assert again.status_code == 200, again.text
    assert REPLAYED not in again.headers
    assert len(headwater.asked(asked)) == 2


async def test_an_answer_that_broke_off_is_not_asked_for_again(client: httpx.AsyncClient, headwater: Headwater) -> None:
    asked = f"sim-cut-mid-event?after=5&key=broken-{next(_numbers)}"
    first = await client.post("/v1/completions", json=of("/v1/completions", asked))
    second = await client.post("/v1/completions", json=of("/v1/completions", asked))
    assert frames(first.text)[-1].event == "error"
    assert _without_keepalives(second.text) == _without_keepalives(first.text)
    whole = await client.post("/v1/completions", json=of("/v1/completions", asked, stream=False))
    assert whole.status_code == 422  # another body
    assert len(headwater.asked(asked)) == 1


async def test_an_error_is_told_again_with_its_status(client: httpx.AsyncClient, headwater: Headwater) -> None:
    body = of("/v1/messages", f"sim-cut-mid-event?after=5&key=told-{next(_numbers)}", stream=False)
    first = await client.post("/v1/messages", json=body)
    second = await client.post("/v1/messages", json=body)
    assert first.status_code == second.status_code == 502
    assert first.json()["error"] == second.json()["error"]


async def test_a_cancelled_answer_is_told_as_such(client: httpx.AsyncClient) -> None:
    body = of("/v1/completions", f"sim-ok?rate=20&tokens=300&key=stopped-{next(_numbers)}", max_tokens=1000)
    async with client.stream("POST", "/v1/completions", json=body) as first:
        await client.post(f"/v1/completions/{first.headers['x-completion-id']}/cancel")
    again = await client.post("/v1/completions", json=body)
    assert again.status_code == 200
    assert frames(again.text)[-1].data["error"]["code"] == "cancelled"


async def test_not_stored_it_cannot_be_given_again(client: httpx.AsyncClient, headwater: Headwater) -> None:
    body = of("/v1/completions", asked := model(), store=False)
    await client.post("/v1/completions", json=body)
    again = await client.post("/v1/completions", json=body)
    assert again.status_code == 410
    assert len(headwater.asked(asked)) == 1


async def test_in_the_background(client: httpx.AsyncClient, headwater: Headwater) -> None:
    body = of("/v1/responses", asked := model(), background=True)
    first = (await client.post("/v1/responses", json=body)).json()
    again = await client.post("/v1/responses", json=body)
    assert again.json()["id"] == first["id"]
    assert again.headers[REPLAYED] == "true"
    await until(lambda: headwater.asked(asked))
    assert len(headwater.asked(asked)) == 1


async def test_a_conversation_gets_the_turn_once(client: httpx.AsyncClient) -> None:
    conversation = (await client.post("/v1/conversations", json={}, headers={"idempotency-key": "made"})).json()["id"]
    body = of("/v1/completions", model(), conversation_id=conversation, stream=False)
    answers = [await client.post("/v1/completions", json=body) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    messages = (await client.get(f"/v1/conversations/{conversation}/messages")).json()["data"]
    assert [message["role"] for message in messages] == ["user", "assistant"]


@pytest.mark.parametrize("path", ["/v1/completions", "/api/chat"])
async def test_many_at_once_begin_one(client: httpx.AsyncClient, headwater: Headwater, path: str) -> None:
    body = of(path, asked := f"sim-ok?first_ms=300&tokens=8&key=many-{next(_numbers)}")
    answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-completion-id"] for answer in answers}) == 1
    assert len({_without_keepalives(answer.text) for answer in answers}) == 1
    assert [REPLAYED in answer.headers for answer in answers].count(False) == 1
    assert len(headwater.asked(asked)) == 1
    assert headwater.rows("SELECT count(*) FROM ledger WHERE model = %s", asked) == [(1,)]
