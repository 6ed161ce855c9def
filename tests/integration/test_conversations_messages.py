"""The messages of a conversation: byte for byte, in order, in pages."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.api import Api, StartApi
from tests.support.postgres import Postgres
from tests.support.problems import problem

PATH = "/v1/conversations"
USER = {"role": "user", "content": "Hi"}


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with("conversations")


@pytest.fixture
async def path(caller: httpx.AsyncClient) -> str:
    return await new(caller)


async def new(caller: httpx.AsyncClient) -> str:
    """The path of a new conversation's messages."""
    return f"{PATH}/{(await caller.post(PATH, json={})).json()['id']}/messages"


async def append(caller: httpx.AsyncClient, path: str, body: Any) -> list[dict[str, Any]]:
    response = await caller.post(path, json=body)
    assert response.status_code == 201, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


async def positions(caller: httpx.AsyncClient, path: str, **query: int) -> list[list[int]]:
    """The positions on each page, to the end."""
    found: list[list[int]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = (await caller.get(path, params={**query, **cursor})).json()
        found.append([each["position"] for each in page["data"]])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    return found


class Piece(msgspec.Struct):
    content: msgspec.Raw


class Pieces(msgspec.Struct):
    data: list[Piece]


def contents(response: httpx.Response) -> list[bytes]:
    """The contents in an answer, as they stand in it."""
    return [bytes(each.content) for each in msgspec.json.decode(response.content, type=Pieces).data]


async def test_one_message_is_appended(caller: httpx.AsyncClient, path: str) -> None:
    (appended,) = await append(caller, path, USER)
    assert appended.keys() == {"id", "position", "role", "content", "completion_id", "created_at"}
    assert (appended["role"], appended["content"], appended["position"]) == ("user", "Hi", 1)
    assert appended["completion_id"] is None
    assert (await caller.get(path)).json() == {"data": [appended], "next_cursor": None}


async def test_several_are_appended_in_order(caller: httpx.AsyncClient, path: str) -> None:
    await append(caller, path, USER)
    several = [{"role": "assistant", "content": "a"}, USER, {"role": "user", "content": "b"}]
    appended = await append(caller, path, several)
    assert [each["position"] for each in appended] == [2, 3, 4]
    assert [each["content"] for each in appended] == ["a", "Hi", "b"]
    assert (await caller.get(path)).json()["data"][1:] == appended


async def test_appending_and_deleting_are_changes_of_the_conversation(caller: httpx.AsyncClient, path: str) -> None:
    conversation = path.removesuffix("/messages")
    times = [(await caller.get(conversation)).json()["updated_at"]]
    await append(caller, path, USER)
    times.append((await caller.get(conversation)).json()["updated_at"])
    await caller.delete(f"{path}/last")
    times.append((await caller.get(conversation)).json()["updated_at"])
    assert times[0] < times[1] < times[2]


BYTES = [
    rb'"plain"',
    rb'"escapes \u00e9 \/ \" \\ \n \u0000 \ud83d\ude00 \u2028"',
    '"é 😀 \u2028 \x7f"'.encode(),
    rb'""',
    b'[ {"type" : "text",\n\t"text": "spaces"}  ]',
    rb'[{"type":"thinking","thinking":"\u0068m","signature":"EqQBCgIYAhIM\/+=="},{"type":"redacted_thinking","data":"x"}]',
    b'[{"type":"tool_use","id":"t","name":"n","input":{"a":1.0,"b":1e400,"c":-0,"d":12345678901234567890123,"e":1E+2}}]',
    b'[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}],"is_error":false}]',
    b'[{"text":"the type comes last","new_field":{"a":1,"a":2},"type":"brand_new"}]',
]


@pytest.mark.parametrize("content", BYTES)
async def test_contents_are_kept_byte_for_byte(caller: httpx.AsyncClient, path: str, content: bytes) -> None:
    response = await caller.post(path, content=b'{"content": %b, "role": "user"}' % content)
    assert response.status_code == 201, response.text
    assert contents(response) == [content]
    assert contents(await caller.get(path)) == [content]


async def test_so_are_first_messages_and_system(caller: httpx.AsyncClient, database_url: str) -> None:
    system = rb'[{"type":"text","text":"\u00e9\u0000","x":1.0}]'
    messages = b",".join(b'{"role":"user","content":%b}' % content for content in BYTES)
    response = await caller.post(PATH, content=b'{"system": %b, "messages": [%b]}' % (system, messages))
    assert response.status_code == 201, response.text
    assert b'"system":' + system in response.content
    assert contents(await caller.get(f"{PATH}/{response.json()['id']}/messages")) == BYTES
    with Postgres.connect(database_url) as conn:
        assert conn.execute("SELECT system FROM conversations").fetchone() == (system,)
        assert conn.execute("SELECT content FROM messages ORDER BY position").fetchall() == [(each,) for each in BYTES]

    changed = await caller.patch(f"{PATH}/{response.json()['id']}", content=rb'{"system": "\u00e9"}')
    assert rb'"system":"\u00e9"' in changed.content


async def test_numbers_in_metadata_keep_their_value(caller: httpx.AsyncClient) -> None:
    metadata = b'{"a": 12345678901234567890.123, "b": 1.0}'
    response = await caller.post(PATH, content=b'{"metadata": %b}' % metadata)
    assert b'"metadata":' + metadata in response.content


async def test_messages_come_in_pages(caller: httpx.AsyncClient, path: str) -> None:
    await append(caller, path, [USER] * 5)
    assert await positions(caller, path, limit=2) == [[1, 2], [3, 4], [5]]
    assert await positions(caller, path, limit=5) == [[1, 2, 3, 4, 5]]
    assert await positions(caller, await new(caller)) == [[]]


async def test_the_next_page_begins_with_what_came_since(caller: httpx.AsyncClient, path: str) -> None:
    await append(caller, path, [USER] * 3)
    cursor = (await caller.get(path, params={"limit": 2})).json()["next_cursor"]
    await caller.delete(f"{path}/last")
    await caller.delete(f"{path}/last")  # the cursor's own
    await append(caller, path, [USER, {"role": "user", "content": "new"}])
    page = (await caller.get(path, params={"cursor": cursor})).json()
    assert [each["content"] for each in page["data"]] == ["new"]


async def test_pages_end_by_bytes(start_api: StartApi) -> None:
    api = await start_api(max_page_bytes=10_000)
    caller = await api.client_with("conversations")
    path = await new(caller)
    for size in (4000, 4000, 4000, 20_000, 20_000, 10, 10):
        await append(caller, path, {"role": "user", "content": "x" * size})
    assert await positions(caller, path) == [[1, 2], [3], [4], [5], [6, 7]]
    assert await positions(caller, path, limit=1) == [[1], [2], [3], [4], [5], [6], [7]]
    assert len((await caller.get(path)).content) <= 10_000


@pytest.mark.parametrize("cursor", ["x", "", "-1", "1.5", "9" * 11, "\0", "٣"])
async def test_a_wrong_cursor_is_refused(caller: httpx.AsyncClient, path: str, cursor: str) -> None:
    assert problem(await caller.get(path, params={"cursor": cursor})) == (400, "invalid_cursor")


async def test_a_cursor_past_the_end_gives_an_empty_page(caller: httpx.AsyncClient, path: str) -> None:
    page = await caller.get(path, params={"cursor": "9" * 10})
    assert page.json() == {"data": [], "next_cursor": None}


async def test_the_last_message_is_taken_back(caller: httpx.AsyncClient, path: str) -> None:
    await append(caller, path, [USER, {"role": "assistant", "content": "wrong"}])
    assert (await caller.delete(f"{path}/last")).status_code == 204
    (again,) = await append(caller, path, {"role": "assistant", "content": "right"})
    assert again["position"] == 2
    assert [each["content"] for each in (await caller.get(path)).json()["data"]] == ["Hi", "right"]


async def test_from_an_empty_conversation_nothing_is_taken(caller: httpx.AsyncClient, path: str) -> None:
    await append(caller, path, USER)
    assert (await caller.delete(f"{path}/last")).status_code == 204
    assert problem(await caller.delete(f"{path}/last")) == (404, "no_messages")


async def test_appends_at_once_do_not_mix(caller: httpx.AsyncClient, path: str) -> None:
    async def three(n: int) -> None:
        await append(caller, path, [{"role": "user", "content": f"{n}.{part}"} for part in range(3)])

    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(three(n))
    listed = (await caller.get(path, params={"limit": 200})).json()["data"]
    assert [each["position"] for each in listed] == list(range(1, 61))
    batches = [[each["content"] for each in listed[start : start + 3]] for start in range(0, 60, 3)]
    assert sorted(batches) == sorted([f"{n}.{part}" for part in range(3)] for n in range(20))


async def test_appends_and_deletions_at_once_leave_no_gap(caller: httpx.AsyncClient, path: str) -> None:
    await append(caller, path, [USER] * 10)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(append(caller, path, USER))
            group.create_task(caller.delete(f"{path}/last"))
    assert await positions(caller, path) == [list(range(1, 11))]
