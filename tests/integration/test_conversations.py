"""`/v1/conversations`: make, read, change, delete."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from app.domain.ids import uuid7
from tests.support.api import Api, StartApi
from tests.support.postgres import Postgres
from tests.support.problems import problem, without_id
from tests.support.rows import insert_completion

PATH = "/v1/conversations"


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with("conversations")


async def create(caller: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await caller.post(PATH, json=fields)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_conversation_is_made_and_read(caller: httpx.AsyncClient) -> None:
    fields = {
        "external_id": "order-4711",
        "title": "A kettle 🫖 \t\"'",
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"customer": 42, "tags": ["a", {"b": None}]},
    }
    response = await caller.post(PATH, json=fields)
    made = response.json()
    assert response.status_code == 201
    assert {name: made[name] for name in fields} == fields
    assert set(made) == {*fields, "id", "created_at", "updated_at"}
    assert datetime.fromisoformat(made["created_at"]).tzinfo is not None
    assert response.headers["location"] == f"{PATH}/{made['id']}"
    assert (await caller.get(response.headers["location"])).json() == made


async def test_everything_may_be_left_out(caller: httpx.AsyncClient) -> None:
    made = await create(caller)
    assert (made["external_id"], made["title"], made["system"], made["metadata"]) == (None, None, None, {})
    assert await create(caller, external_id=None, title=None, system=None, metadata=None)


async def test_the_body_needs_no_content_type(caller: httpx.AsyncClient) -> None:
    response = await caller.post(PATH, content=b'{"title": "x"}')
    assert response.json()["title"] == "x"


async def test_location_begins_with_the_public_url(start_api: StartApi) -> None:
    api = await start_api(public_url="https://llm.example")
    response = await (await api.client_with()).post(PATH, json={})
    assert response.headers["location"] == f"https://llm.example{PATH}/{response.json()['id']}"


async def test_it_may_begin_with_messages(caller: httpx.AsyncClient) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
    ]
    made = await create(caller, messages=messages)
    listed = (await caller.get(f"{PATH}/{made['id']}/messages")).json()["data"]
    assert [{"role": each["role"], "content": each["content"]} for each in listed] == messages
    assert [each["position"] for each in listed] == [1, 2]


async def test_an_external_id_is_taken_once_per_tenant(api: Api, caller: httpx.AsyncClient) -> None:
    await create(caller, external_id="a")
    again = await caller.post(PATH, json={"external_id": "a", "messages": [{"role": "user", "content": "x"}]})
    assert problem(again) == (409, "external_id_taken")
    assert len((await caller.get(PATH)).json()["data"]) == 1
    await create(await api.client_with("conversations", tenant="other"), external_id="a")


async def test_a_change_touches_what_it_names(caller: httpx.AsyncClient) -> None:
    made = await create(caller, external_id="a", title="t", system="s", metadata={"m": 1})
    path = f"{PATH}/{made['id']}"
    changes: list[dict[str, Any]] = [
        {"title": "T"},
        {"external_id": "b"},
        {"system": [{"type": "text", "text": "S"}]},
        {"metadata": {}},
    ]
    for change in changes:
        changed = (await caller.patch(path, json=change)).json()
        assert changed["updated_at"] > made["updated_at"]
        made |= {**change, "updated_at": changed["updated_at"]}
        assert changed == made
        assert (await caller.get(path)).json() == made
    assert (await caller.patch(path, json={})).status_code == 200


@pytest.mark.parametrize("field", ["external_id", "title", "system", "metadata"])
async def test_null_clears(caller: httpx.AsyncClient, field: str) -> None:
    fields = {"external_id": "a", "title": "t", "system": "s", "metadata": {"m": 1}}
    made = await create(caller, **fields)
    changed = (await caller.patch(f"{PATH}/{made['id']}", json={field: None})).json()
    assert {name: changed[name] for name in fields} == {**fields, field: {} if field == "metadata" else None}


async def test_a_change_may_not_take_anothers_external_id(caller: httpx.AsyncClient) -> None:
    await create(caller, external_id="a")
    made = await create(caller, external_id="b", title="t")
    path = f"{PATH}/{made['id']}"
    response = await caller.patch(path, json={"external_id": "a", "title": "T"})
    assert problem(response) == (409, "external_id_taken")
    assert (await caller.get(path)).json() == made
    assert (await caller.patch(path, json={"external_id": "b"})).status_code == 200


async def test_deletion_takes_messages_and_completions_along(caller: httpx.AsyncClient, database_url: str) -> None:
    kept, gone = [(await create(caller, messages=[{"role": "user", "content": "x"}]))["id"] for _ in range(2)]
    completions = [
        insert_completion(database_url, status="completed", conversation=conversation) for conversation in (kept, gone)
    ]
    with Postgres.connect(database_url) as conn:
        for completion in completions:
            conn.execute("INSERT INTO completion_logs (completion_id, data) VALUES (%s, '')", (completion,))
            conn.execute("INSERT INTO completion_events VALUES (%s, 1, 1, '')", (completion,))
        assert (await caller.delete(f"{PATH}/{gone}")).status_code == 204
        for table in ("conversations", "messages", "completions", "completion_logs", "completion_events"):
            rows = conn.execute(f"SELECT * FROM {table}").fetchall()
            assert len(rows) == 1, table
    assert (await caller.get(f"{PATH}/{kept}")).status_code == 200
    assert problem(await caller.get(f"{PATH}/{gone}")) == (404, "not_found")
    assert problem(await caller.delete(f"{PATH}/{gone}")) == (404, "not_found")


MESSAGE = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("GET", "/messages", None),
        ("POST", "/messages", MESSAGE),
        ("DELETE", "/messages/last", None),
    ],
)
async def test_unknown_foreign_and_impossible_ids_are_answered_alike(
    api: Api, caller: httpx.AsyncClient, method: str, suffix: str, body: dict[str, str] | None
) -> None:
    made = await create(caller, title="t", messages=[MESSAGE])
    before = (await caller.get(f"{PATH}/{made['id']}/messages")).json()
    stranger = await api.client_with("conversations", tenant="other")
    responses = [
        await stranger.request(method, f"{PATH}/{id}{suffix}", json=body) for id in (uuid7(), made["id"], "7", "%00")
    ]
    assert {problem(response) for response in responses} == {(404, "not_found")}
    assert all(without_id(response) == without_id(responses[0]) for response in responses)
    assert (await caller.get(f"{PATH}/{made['id']}")).json() == made
    assert (await caller.get(f"{PATH}/{made['id']}/messages")).json() == before


async def test_all_of_it_needs_the_scope(api: Api) -> None:
    caller = await api.client_with("completions")
    nobody = await api.client()
    for method, path in [
        ("POST", PATH),
        ("GET", PATH),
        ("GET", f"{PATH}/{uuid7()}"),
        ("PATCH", f"{PATH}/{uuid7()}"),
        ("DELETE", f"{PATH}/7"),
        ("GET", f"{PATH}/{uuid7()}/messages"),
        ("POST", f"{PATH}/{uuid7()}/messages"),
        ("DELETE", f"{PATH}/{uuid7()}/messages/last"),
    ]:
        assert problem(await caller.request(method, path)) == (403, "missing_scope")
        assert problem(await nobody.request(method, path)) == (401, "no_api_key")


async def test_other_methods_are_refused(caller: httpx.AsyncClient) -> None:
    assert problem(await caller.put(f"{PATH}/{uuid7()}")) == (405, "method_not_allowed")
