"""A repeated request that creates something: what the first one made is there once, and told again."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.db import idempotency
from app.domain.completion import Idempotency
from app.domain.ids import following, uuid7
from app.domain.principal import Tenant
from tests.support.api import Api
from tests.support.postgres import Postgres
from tests.support.problems import problem
from tests.support.rows import insert_completion

KEY = {"name": "shop", "scopes": ["conversations"]}
MESSAGES = [{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two."}]
Body = dict[str, Any] | list[dict[str, Any]]


def named(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with()


async def new_conversation(caller: httpx.AsyncClient, **fields: Any) -> str:
    id: str = (await caller.post("/v1/conversations", json=fields)).json()["id"]
    return id


def assert_replayed(again: httpx.Response, first: httpx.Response) -> None:
    assert again.status_code == first.status_code == 201, again.text
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_conversation_is_made_once(caller: httpx.AsyncClient) -> None:
    body = {"title": "A kettle", "external_id": "order-1", "messages": MESSAGES}
    first, again = [await caller.post("/v1/conversations", json=body, headers=named("a")) for _ in range(2)]
    assert_replayed(again, first)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len((await caller.get("/v1/conversations")).json()["data"]) == 1
    messages = (await caller.get(f"{first.headers['location']}/messages")).json()["data"]
    assert [message["content"] for message in messages] == ["One.", "Two."]


async def test_it_is_told_as_it_is_now(caller: httpx.AsyncClient) -> None:
    first = await caller.post("/v1/conversations", json={"title": "A kettle"}, headers=named("a"))
    await caller.patch(first.headers["location"], json={"title": "A pot"})
    again = await caller.post("/v1/conversations", json={"title": "A kettle"}, headers=named("a"))
    assert_replayed(again, first)
    assert again.json()["title"] == "A pot"
    await caller.delete(first.headers["location"])
    again = await caller.post("/v1/conversations", json={"title": "A kettle"}, headers=named("a"))
    assert problem(again) == (404, "not_found")


@pytest.mark.parametrize("body", [MESSAGES[0], MESSAGES], ids=["one", "several"])
async def test_messages_are_appended_once(caller: httpx.AsyncClient, body: Body) -> None:
    path = f"/v1/conversations/{await new_conversation(caller, messages=[MESSAGES[0]])}/messages"
    first = await caller.post(path, json=body, headers=named("a"))
    await caller.post(path, json={"role": "user", "content": "Three."})
    again = await caller.post(path, json=body, headers=named("a"))
    assert_replayed(again, first)
    assert again.json() == first.json()
    stored = (await caller.get(path)).json()["data"]
    assert len(stored) == 2 + len(first.json()["data"])
    assert stored[1 : len(stored) - 1] == first.json()["data"]


async def test_messages_that_were_deleted_are_not_told_again(caller: httpx.AsyncClient) -> None:
    path = f"/v1/conversations/{await new_conversation(caller)}/messages"
    first = await caller.post(path, json=MESSAGES, headers=named("a"))
    await caller.delete(f"{path}/last")
    await caller.post(path, json={"role": "assistant", "content": "Another."})
    again = await caller.post(path, json=MESSAGES, headers=named("a"))
    assert again.json()["data"] == first.json()["data"][:1]
    for _ in range(2):
        await caller.delete(f"{path}/last")
    again = await caller.post(path, json=MESSAGES, headers=named("a"))
    assert problem(again) == (404, "no_messages")
    assert (await caller.get(path)).json()["data"] == []


async def test_messages_are_told_again_while_an_answer_runs(caller: httpx.AsyncClient, database_url: str) -> None:
    id = await new_conversation(caller)
    path = f"/v1/conversations/{id}/messages"
    first = await caller.post(path, json=MESSAGES, headers=named("a"))
    insert_completion(database_url, conversation=id)
    assert_replayed(await caller.post(path, json=MESSAGES, headers=named("a")), first)
    assert problem(await caller.post(path, json=MESSAGES, headers=named("b"))) == (409, "conversation_busy")


async def test_a_request_that_was_refused_leaves_its_key_free(caller: httpx.AsyncClient, database_url: str) -> None:
    id = await new_conversation(caller, external_id="order-1")
    body = {"external_id": "order-1"}
    taken = await caller.post("/v1/conversations", json=body, headers=named("a"))
    assert problem(taken) == (409, "external_id_taken")
    await caller.delete(f"/v1/conversations/{id}")
    made = await caller.post("/v1/conversations", json=body, headers=named("a"))
    assert made.status_code == 201
    assert "idempotent-replayed" not in made.headers

    insert_completion(database_url, conversation=made.json()["id"], owner="dead")
    path = f"{made.headers['location']}/messages"
    assert (await caller.post(path, json=MESSAGES, headers=named("b"))).status_code == 201


async def test_a_keys_secret_is_not_shown_again(api: Api) -> None:
    admin = await api.admin()
    made = await admin.post("/v1/keys", json=KEY, headers=named("a"))
    again = await admin.post("/v1/keys", json=KEY, headers=named("a"))
    assert problem(again) == (409, "secret_shown_once")
    assert made.json()["id"] in again.json()["detail"]
    assert made.json()["secret"] not in again.text
    assert len((await admin.get("/v1/keys")).json()["data"]) == 1
    assert (await admin.delete(f"/v1/keys/{made.json()['id']}")).status_code == 204


async def test_a_secret_is_exchanged_once(api: Api) -> None:
    admin = await api.admin()
    made = (await admin.post("/v1/keys", json=KEY)).json()
    path, body = f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": 60}
    new = (await admin.post(path, json=body, headers=named("a"))).json()["secret"]
    assert problem(await admin.post(path, json=body, headers=named("a"))) == (409, "secret_shown_once")
    for secret in (made["secret"], new):
        assert (await (await api.client(secret)).get("/v1/conversations")).status_code == 200


async def test_a_tokens_secret_is_not_shown_again(api: Api, caller: httpx.AsyncClient) -> None:
    body = {"conversation_id": await new_conversation(caller)}
    made = (await caller.post("/v1/tokens", json=body, headers=named("a"))).json()
    again = await caller.post("/v1/tokens", json=body, headers=named("a"))
    assert problem(again) == (409, "secret_shown_once")
    assert made["id"] in again.json()["detail"]
    page = await api.client(made["token"])
    path = f"/v1/conversations/{made['conversation_id']}"
    assert (await page.get(path)).status_code == 200
    await (await api.admin()).delete(f"/v1/keys/{made['id']}")
    assert (await page.get(path)).status_code == 401


async def test_a_key_names_one_request(api: Api, caller: httpx.AsyncClient) -> None:
    id = await new_conversation(caller)
    requests: list[tuple[str, Body]] = [
        ("/v1/conversations", {}),
        ("/v1/conversations", {"title": "x"}),
        (f"/v1/conversations/{id}/messages", MESSAGES),
        (f"/v1/conversations/{await new_conversation(caller)}/messages", MESSAGES),
        ("/v1/tokens", {"conversation_id": id}),
    ]
    for first in requests:
        key = str(uuid7())
        for request in [first, *requests]:
            path, body = request
            response = await caller.post(path, json=body, headers=named(key))
            if request != first:
                assert problem(response) == (422, "idempotency_key_reused")
                assert response.json()["param"] == "idempotency-key"

    admin = await api.admin()
    await admin.post("/v1/keys", json=KEY, headers=named("a"))
    other = await admin.post("/v1/keys", json={**KEY, "name": "till"}, headers=named("a"))
    assert problem(other) == (422, "idempotency_key_reused")


async def test_tenants_have_keys_of_their_own(api: Api, caller: httpx.AsyncClient) -> None:
    stranger = await api.client_with(tenant="other")
    ours, theirs = [await each.post("/v1/conversations", json={}, headers=named("a")) for each in (caller, stranger)]
    assert ours.json()["id"] != theirs.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
async def test_what_is_no_key_is_refused(caller: httpx.AsyncClient, key: str) -> None:
    headers = [(b"idempotency-key", key.encode())]
    response = await caller.post("/v1/conversations", json={}, headers=headers)
    assert problem(response) == (400, "invalid_idempotency_key")
    assert (await caller.get("/v1/conversations")).json()["data"] == []


async def test_of_many_at_once_one_makes_it(caller: httpx.AsyncClient) -> None:
    async def at_once(post: Callable[[], Any]) -> list[httpx.Response]:
        return list(await asyncio.gather(*[post() for _ in range(10)]))

    made = await at_once(lambda: caller.post("/v1/conversations", json={}, headers=named("a")))
    assert {response.status_code for response in made} == {201}
    assert len({response.json()["id"] for response in made}) == 1
    assert sum("idempotent-replayed" not in response.headers for response in made) == 1
    path = f"{made[0].headers['location']}/messages"
    appended = await at_once(lambda: caller.post(path, json=MESSAGES, headers=named("b")))
    assert {response.status_code for response in appended} == {201}
    assert len((await caller.get(path)).json()["data"]) == 2


async def test_old_keys_are_forgotten_in_batches(api: Api, database_url: str) -> None:
    tenant = Tenant("default")
    async with api.pool.connection() as conn:
        for n in range(4):
            assert await idempotency.claim(conn, tenant, Idempotency(str(n), b"x"), uuid7()) is None
        with Postgres.connect(database_url) as look:
            look.execute("UPDATE idempotency_keys SET created_at = created_at - interval '61 s' WHERE key <> '3'")

            def left() -> list[str]:
                return [row[0] for row in look.execute("SELECT key FROM idempotency_keys ORDER BY key")]

            counts = []
            for _ in range(3):
                await idempotency.delete_old(conn, retention=60, limit=2)
                counts.append(len(left()))
            assert counts == [2, 1, 1]
            assert left() == ["3"]


def test_ids_that_follow_are_of_their_kind() -> None:
    first = uuid7()
    ids = following(first, 1000)
    assert ids[0] == first
    assert len(set(ids)) == 1000
    last = type(first)(int=first.int | (1 << 62) - 1)
    for id in [*ids, *following(last, 2)]:
        assert (id.version, id.variant) == (7, first.variant)
        assert id.int >> 62 == first.int >> 62
