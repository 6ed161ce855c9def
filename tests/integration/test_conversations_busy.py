"""While a completion streams, its conversation's messages stay as they are."""

from typing import Any

import httpx
import pytest

from tests.support.api import Api, StartApi
from tests.support.postgres import Postgres
from tests.support.problems import problem
from tests.support.rows import insert_completion

PATH = "/v1/conversations"
MESSAGE = {"role": "user", "content": "x"}
CHANGES = [("POST", "/messages", MESSAGE), ("DELETE", "/messages/last", None), ("DELETE", "", None)]


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with("conversations")


@pytest.fixture
async def conversation(caller: httpx.AsyncClient) -> str:
    id: str = (await caller.post(PATH, json={"messages": [MESSAGE]})).json()["id"]
    return id


@pytest.mark.parametrize(("method", "suffix", "body"), CHANGES)
async def test_changes_wait_for_its_end(
    caller: httpx.AsyncClient, conversation: str, database_url: str, method: str, suffix: str, body: Any
) -> None:
    completion = insert_completion(database_url, conversation=conversation)
    path = f"{PATH}/{conversation}"
    assert problem(await caller.request(method, path + suffix, json=body)) == (409, "conversation_busy")
    assert len((await caller.get(f"{path}/messages")).json()["data"]) == 1

    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE completions SET status = 'completed' WHERE id = %s", (completion,))
    assert (await caller.request(method, path + suffix, json=body)).is_success


async def test_other_changes_need_not_wait(caller: httpx.AsyncClient, conversation: str, database_url: str) -> None:
    insert_completion(database_url, conversation=conversation)
    assert (await caller.patch(f"{PATH}/{conversation}", json={"title": "x"})).status_code == 200
    assert (await caller.get(f"{PATH}/{conversation}/messages")).status_code == 200
    other = (await caller.post(PATH, json={})).json()["id"]
    assert (await caller.post(f"{PATH}/{other}/messages", json=MESSAGE)).status_code == 201


@pytest.mark.parametrize(("method", "suffix", "body"), CHANGES)
async def test_a_completion_that_a_lost_instance_left_is_ended_first(
    caller: httpx.AsyncClient, conversation: str, database_url: str, method: str, suffix: str, body: Any
) -> None:
    insert_completion(database_url, conversation=conversation, owner="dead")
    assert (await caller.request(method, f"{PATH}/{conversation}{suffix}", json=body)).is_success
    with Postgres.connect(database_url) as conn:
        rows = conn.execute("SELECT status FROM completions").fetchall()
    deleted = (method, suffix) == ("DELETE", "")
    assert rows == ([] if deleted else [("interrupted",)])


async def test_nobody_waits_longer_than_the_lease_for_a_lost_instance(
    start_api: StartApi, conversation: str, database_url: str
) -> None:
    insert_completion(database_url, conversation=conversation)
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE instances SET lease_until = clock_timestamp() - interval '1 s'")
    # A lease counts from the server's start as well, so only a short one is over by now.
    api = await start_api(lease=0.001)
    caller = await api.client_with("conversations")
    assert (await caller.post(f"{PATH}/{conversation}/messages", json=MESSAGE)).status_code == 201
    with Postgres.connect(database_url) as conn:
        assert conn.execute("SELECT status FROM completions").fetchall() == [("interrupted",)]
