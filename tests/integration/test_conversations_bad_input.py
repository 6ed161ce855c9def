"""What is wrong with a request is said, by field, and nothing of it is stored."""

from typing import Any

import httpx
import pytest

from tests.support.api import Api, StartApi
from tests.support.postgres import Postgres
from tests.support.problems import problem

PATH = "/v1/conversations"
UNPROCESSABLE = (422, "validation_failed")
NO_JSON = (400, "invalid_json")
TEXT = [{"type": "text", "text": "x"}]


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with("conversations")


@pytest.fixture
async def conversation(caller: httpx.AsyncClient) -> str:
    """The path of a conversation with every field and one message."""
    fields = {"external_id": "a", "title": "t", "system": "s", "metadata": {"m": 1}}
    made = await caller.post(PATH, json={**fields, "messages": [{"role": "user", "content": "x"}]})
    return f"{PATH}/{made.json()['id']}"


def stored(database_url: str) -> Any:
    with Postgres.connect(database_url) as conn:
        return conn.execute(
            "SELECT (SELECT array_agg(c::text ORDER BY id) FROM conversations c),"
            " (SELECT array_agg(m::text ORDER BY id) FROM messages m)"
        ).fetchone()


MALFORMED = {
    "empty": b"",
    "cut": b'{"title": "x"',
    "two": b"{} {}",
    "comma": b'{"title": "x",}',
    "not utf-8": b'{"title": "\xff"}',
    "not utf-8 in raw": b'{"system": "\xff"}',
    "encoded surrogate": b'{"system": "\xed\xa0\x80"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": "{}".encode("utf-16"),
    "nan": b'{"metadata": {"a": NaN}}',
    "control character": b'{"title": "a\nb"}',
    "lone surrogate": rb'{"title": "\ud800"}',
    "lone surrogate in raw": rb'{"system": "\ud800 x"}',
    "low surrogate first": rb'{"metadata": {"a": "\udc00\ud800"}}',
    "deep": b'{"system": ' + b"[" * 100_000,
    "deep and closed": b'{"system": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_json_is_refused(
    caller: httpx.AsyncClient, conversation: str, database_url: str, body: bytes
) -> None:
    before = stored(database_url)
    assert problem(await caller.post(PATH, content=body)) == NO_JSON
    assert problem(await caller.patch(conversation, content=body)) == NO_JSON
    assert stored(database_url) == before


NO_CONTENT = {
    "missing": b"",
    "cut": b'"x',
    "not utf-8": b'"\xff"',
    "not utf-8 inside": b'[{"type": "x", "y": "\xff"}]',
    "lone surrogate": rb'"\ud800"',
    "lone surrogate inside": rb'[{"type": "x", "y": {"z": "\udc00"}}]',
    "nan": b"NaN",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", NO_CONTENT.values(), ids=NO_CONTENT.keys())
async def test_a_message_that_is_no_json_is_refused(
    caller: httpx.AsyncClient, conversation: str, database_url: str, content: bytes
) -> None:
    before = stored(database_url)
    response = await caller.post(f"{conversation}/messages", content=b'{"role": "user", "content": %b}' % content)
    assert problem(response) == NO_JSON
    assert stored(database_url) == before


async def test_a_lone_surrogate_is_explained(caller: httpx.AsyncClient) -> None:
    response = await caller.post(PATH, content=rb'{"title": "\ud800"}')
    assert "surrogate" in response.json()["detail"]


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"titel": "x"}, ""),
    ({"id": "x"}, ""),
    ({"title": 5}, "title"),
    ({"title": ["x"]}, "title"),
    ({"title": "x" * 501}, "title"),
    ({"title": "a\0b"}, "title"),
    ({"external_id": ""}, "external_id"),
    ({"external_id": "x" * 201}, "external_id"),
    ({"external_id": "a\0"}, "external_id"),
    ({"external_id": 7}, "external_id"),
    ({"system": 5}, "system"),
    ({"system": {}}, "system"),
    ({"system": []}, "system"),
    ({"system": ["x"]}, "system[0]"),
    ({"system": [{"type": "text"}]}, "system[0]"),
    ({"system": [*TEXT, {"type": "image", "text": "x"}]}, "system[1].type"),
    ({"metadata": "x"}, "metadata"),
    ({"metadata": [1]}, "metadata"),
    ({"metadata": {"a": {"b": "\0"}}}, "metadata"),
    ({"metadata": {"a\0": 1}}, "metadata"),
    ({"metadata": {"a": "x" * 16_384}}, "metadata"),
]


@pytest.mark.parametrize(("wrong", "field"), FIELDS)
async def test_a_wrong_field_is_named(
    caller: httpx.AsyncClient, conversation: str, database_url: str, wrong: dict[str, Any], field: str
) -> None:
    before = stored(database_url)
    first = {"role": "user", "content": "x"}
    for response in (
        await caller.post(PATH, json={"messages": [first], **wrong}),
        await caller.patch(conversation, json={"title": "new", **wrong}),
    ):
        assert problem(response) == UNPROCESSABLE
        assert response.json().get("param", "") == field
    assert stored(database_url) == before


@pytest.mark.parametrize("number", ["1e9999", "1E-9999", "-1.5e+0123456"])
async def test_a_number_that_postgres_would_write_out_is_refused(caller: httpx.AsyncClient, number: str) -> None:
    response = await caller.post(PATH, content=b'{"metadata": {"a": [%b]}}' % number.encode())
    assert problem(response) == UNPROCESSABLE


async def test_metadata_as_deep_as_can_be_read_are_stored_or_refused(caller: httpx.AsyncClient) -> None:
    for depth in (100, 900, 5000, 8000):
        nested = b"[" * depth + b"]" * depth
        response = await caller.post(PATH, content=b'{"metadata": {"a": %b}}' % nested)
        assert response.status_code in (201, 400, 422), response.text


MESSAGES: list[tuple[Any, str]] = [
    ({}, ""),
    ([], ""),
    ("x", ""),
    ({"role": "user"}, ""),
    ({"content": "x"}, ""),
    ({"role": "user", "content": "x", "id": "y"}, ""),
    ({"role": "system", "content": "x"}, "role"),
    ({"role": None, "content": "x"}, "role"),
    ({"role": "user", "content": None}, "[0].content"),
    ({"role": "user", "content": 5}, "[0].content"),
    ({"role": "user", "content": {"type": "text"}}, "[0].content"),
    ({"role": "user", "content": []}, "[0].content"),
    ({"role": "user", "content": ["x"]}, "[0].content[0]"),
    ({"role": "user", "content": [{"text": "x"}]}, "[0].content[0]"),
    ({"role": "user", "content": [{"type": 5}]}, "[0].content[0].type"),
    ({"role": "user", "content": [{"type": ""}]}, "[0].content[0].type"),
    ([{"role": "user", "content": "x"}, {"role": "user", "content": 5}], "[1].content"),
    ([{"role": "user", "content": "x"}, {"role": "me", "content": "x"}], "[1].role"),
    ([{"role": "user", "content": "x"}] * 1001, ""),
]


@pytest.mark.parametrize(("wrong", "field"), MESSAGES)
async def test_a_wrong_message_is_named(
    caller: httpx.AsyncClient, conversation: str, database_url: str, wrong: Any, field: str
) -> None:
    before = stored(database_url)
    response = await caller.post(f"{conversation}/messages", json=wrong)
    assert problem(response) == UNPROCESSABLE
    assert response.json().get("param", "") == field
    assert stored(database_url) == before


@pytest.mark.parametrize("wrong", [{"role": "user", "content": 5}, {"role": "me", "content": "x"}, "x", None])
async def test_a_wrong_first_message_is_named(caller: httpx.AsyncClient, database_url: str, wrong: Any) -> None:
    response = await caller.post(PATH, json={"messages": [{"role": "user", "content": "x"}, wrong]})
    assert problem(response) == UNPROCESSABLE
    assert response.json()["param"].startswith("messages[1]")
    assert stored(database_url) == (None, None)


async def test_a_body_past_the_limit_is_refused(start_api: StartApi, database_url: str) -> None:
    api = await start_api(max_body=10_000)
    caller = await api.client_with("conversations")
    body = b'{"system": "%b"}' % (b"x" * 10_000)

    async def in_pieces() -> Any:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for content in (body, in_pieces()):
        assert problem(await caller.post(PATH, content=content)) == (413, "request_too_large")
    assert stored(database_url) == (None, None)
