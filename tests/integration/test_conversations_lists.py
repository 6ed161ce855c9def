"""Lists of conversations: their pages, and the search by external id, title and metadata."""

import json
from typing import Any

import httpx
import pytest

from tests.support.api import Api, StartApi
from tests.support.problems import problem

PATH = "/v1/conversations"


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with("conversations")


async def create(caller: httpx.AsyncClient, **fields: Any) -> str:
    response = await caller.post(PATH, json=fields)
    assert response.status_code == 201, response.text
    id: str = response.json()["id"]
    return id


async def pages(caller: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    """The ids on each page, to the end."""
    found: list[list[str]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = (await caller.get(PATH, params={**query, **cursor})).json()
        found.append([each["id"] for each in page["data"]])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    return found


async def titles(caller: httpx.AsyncClient, **query: str) -> set[str]:
    response = await caller.get(PATH, params=query)
    assert response.status_code == 200, response.text
    return {each["title"] for each in response.json()["data"]}


async def test_pages_go_from_the_newest_to_the_oldest(api: Api, caller: httpx.AsyncClient) -> None:
    made = sorted([await create(caller) for _ in range(5)], reverse=True)
    await create(await api.client_with("conversations", tenant="other"))
    assert await pages(caller, limit=2) == [made[:2], made[2:4], made[4:]]
    assert await pages(caller, limit=5) == [made]
    assert await pages(caller) == [made]


async def test_an_empty_list_is_one_empty_page(caller: httpx.AsyncClient) -> None:
    assert (await caller.get(PATH)).json() == {"data": [], "next_cursor": None}


async def test_a_new_one_does_not_shift_the_next_page(caller: httpx.AsyncClient) -> None:
    made = sorted([await create(caller) for _ in range(3)], reverse=True)
    first = (await caller.get(PATH, params={"limit": 2})).json()
    await create(caller)
    second = (await caller.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [each["id"] for each in second["data"]] == made[2:]


async def test_pages_end_by_bytes(start_api: StartApi) -> None:
    api = await start_api(max_page_bytes=10_000)
    caller = await api.client_with("conversations")
    made = sorted([await create(caller, system="s" * 3000, metadata={"m": "m" * 500}) for _ in range(5)], reverse=True)
    assert await pages(caller) == [made[:2], made[2:4], made[4:]]
    response = await caller.get(PATH)
    assert len(response.content) <= 10_000


async def test_one_too_large_for_a_page_has_a_page_of_its_own(start_api: StartApi) -> None:
    api = await start_api(max_page_bytes=10_000)
    caller = await api.client_with("conversations")
    made = sorted([await create(caller, system="s" * size) for size in (10, 20_000, 20_000, 10)], reverse=True)
    assert await pages(caller) == [[id] for id in made]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"cursor": "x"}, (400, "invalid_cursor")),
        ({"cursor": ""}, (400, "invalid_cursor")),
        ({"cursor": "\0"}, (400, "invalid_cursor")),
        ({"limit": "0"}, (422, "validation_failed")),
        ({"limit": "201"}, (422, "validation_failed")),
        ({"limit": "x"}, (422, "validation_failed")),
        ({"external_id": "\0"}, (422, "validation_failed")),
        ({"external_id": ""}, (422, "validation_failed")),
        ({"title": "\0"}, (422, "validation_failed")),
        ({"title": "x" * 501}, (422, "validation_failed")),
        ({"metadata": "{"}, (400, "invalid_json")),
        ({"metadata": ""}, (400, "invalid_json")),
        ({"metadata": '{"a": ' + "[" * 3900}, (400, "invalid_json")),
        ({"metadata": "[]"}, (422, "validation_failed")),
        ({"metadata": r'{"a": "\u0000"}'}, (422, "validation_failed")),
        ({"metadata": '{"a": 1e99999}'}, (422, "validation_failed")),
        ({"metadata": '{"a": "' + "x" * 4000 + '"}'}, (422, "validation_failed")),
    ],
)
async def test_a_wrong_query_is_refused(
    caller: httpx.AsyncClient, query: dict[str, str], expected: tuple[int, str]
) -> None:
    response = await caller.get(PATH, params=query)
    assert problem(response) == expected
    assert response.json()["param"] == next(iter(query))


async def test_one_is_found_by_its_external_id(api: Api, caller: httpx.AsyncClient) -> None:
    id = await create(caller, external_id="a/b c")
    await create(caller, external_id="A/b c")
    await create(await api.client_with("conversations", tenant="other"), external_id="a/b c")
    assert await pages(caller, external_id="a/b c") == [[id]]
    assert await pages(caller, external_id="a") == [[]]


async def test_titles_are_searched_for_what_they_contain(api: Api, caller: httpx.AsyncClient) -> None:
    for title in ("100% Kettle", "100 Kettles", "a_b", "axb", r"back\slash", "Straße ÄÖ"):
        await create(caller, title=title)
    await create(caller)
    await create(await api.client_with("conversations", tenant="other"), title="100% Kettle")
    assert await titles(caller, title="KETTLE") == {"100% Kettle", "100 Kettles"}
    assert await titles(caller, title="0%") == {"100% Kettle"}
    assert await titles(caller, title="a_") == {"a_b"}
    assert await titles(caller, title="\\") == {r"back\slash"}
    assert await titles(caller, title="äö") == {"Straße ÄÖ"}
    assert await titles(caller, title="nothing") == set()


async def test_metadata_are_searched_for_what_they_contain(api: Api, caller: httpx.AsyncClient) -> None:
    await create(caller, title="a", metadata={"shop": "x", "order": {"id": 1, "lines": [1, 2]}})
    await create(caller, title="b", metadata={"shop": "x", "order": {"id": 2}})
    await create(caller, title="c")
    await create(await api.client_with("conversations", tenant="other"), title="d", metadata={"shop": "x"})

    async def found(**metadata: Any) -> set[str]:
        return await titles(caller, metadata=json.dumps(metadata))

    assert await found(shop="x") == {"a", "b"}
    assert await found(order={"id": 2}) == {"b"}
    assert await found(order={"lines": [2]}) == {"a"}
    assert await found() == {"a", "b", "c"}
    assert await found(shop="y") == set()


async def test_filters_are_combined_and_paged(caller: httpx.AsyncClient) -> None:
    made = [await create(caller, title=f"Kettle {n}", metadata={"even": n % 2 == 0}) for n in range(6)]
    even = sorted(made[::2], reverse=True)
    query = {"title": "kettle", "metadata": '{"even": true}', "limit": 2}
    assert await pages(caller, **query) == [even[:2], even[2:]]
