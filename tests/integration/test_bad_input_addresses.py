"""Addresses, queries and headers that are wrong, and what the framework answers by itself."""

from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.support.headwater import Headwater, assert_told
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETIONS: Final = "/v1/completions"
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
CONVERSATIONS: Final = "/v1/conversations"
KEYS: Final = "/v1/keys"
NOBODY: Final = "01980000-0000-7000-8000-000000000000"
SECRET: Final = "s3cret-value-of-a-header"

COMPLETION: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 50}
MESSAGE: Final[dict[str, Any]] = {
    "model": "claude-sim",
    "messages": [{"role": "user", "content": "Hello."}],
    "max_tokens": 50,
}


@pytest.mark.parametrize("id", ["x", "5", NOBODY, "%00", "%ff", f"{NOBODY}%00", "a" * 3000, "..%2f..", "🙂"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/completions/{id}"),
        ("GET", "/v1/completions/{id}/stream"),
        ("POST", "/v1/completions/{id}/cancel"),
        ("DELETE", "/v1/completions/{id}"),
        ("GET", "/v1/conversations/{id}"),
        ("DELETE", "/v1/conversations/{id}"),
        ("GET", "/v1/conversations/{id}/messages"),
        ("DELETE", "/v1/conversations/{id}/messages/last"),
    ],
)
async def test_unknown_id(client: httpx.AsyncClient, method: str, path: str, id: str) -> None:
    assert_told(await client.request(method, path.format(id=id)), 404, "not_found")


@pytest.mark.parametrize("id", ["x", NOBODY, "%00"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_unknown_key_id(admin: httpx.AsyncClient, method: str, id: str) -> None:
    assert_told(await admin.request(method, f"/v1/keys/{id}"), 404, "not_found")


async def test_unknown_conversation_of_a_completion(headwater: Headwater, client: httpx.AsyncClient) -> None:
    counts = headwater.counts()
    response = await client.post(COMPLETIONS, json=COMPLETION | {"conversation_id": NOBODY})
    assert_told(response, 404, "not_found")
    assert headwater.counts() == counts


async def test_what_is_anothers_is_as_what_is_not(headwater: Headwater, admin: httpx.AsyncClient) -> None:
    """Nobody learns from an answer whether another tenant has something."""
    theirs = await make_key(admin, tenant="theirs")
    async with headwater.client(theirs) as they:
        conversation = (await they.post(CONVERSATIONS, json={"title": "Theirs"})).json()["id"]
        completion = (await they.post(COMPLETIONS, json=COMPLETION | {"stream": False})).json()["id"]
    async with headwater.client() as we:
        for method, path, id in [
            ("GET", "/v1/completions/{}", completion),
            ("GET", "/v1/completions/{}/stream", completion),
            ("GET", "/v1/completions/{}/stream?after=100000", completion),
            ("POST", "/v1/completions/{}/cancel", completion),
            ("DELETE", "/v1/completions/{}", completion),
            ("GET", "/v1/conversations/{}", conversation),
            ("GET", "/v1/conversations/{}/messages", conversation),
            ("DELETE", "/v1/conversations/{}", conversation),
        ]:
            foreign = await we.request(method, path.format(id))
            unknown = await we.request(method, path.format(NOBODY))
            assert foreign.status_code == unknown.status_code == 404, (method, path)
            assert without_request_id(foreign) == without_request_id(unknown)
        for id in (conversation, NOBODY):
            asked = await we.post(COMPLETIONS, json=COMPLETION | {"conversation_id": id})
            assert_told(asked, 404, "not_found")
            token = await we.post("/v1/tokens", json={"conversation_id": id})
            assert_told(token, 404, "not_found")
        listed = (await we.get(f"/v1/completions?conversation_id={conversation}")).json()
        assert listed == {"data": [], "next_cursor": None}
    assert headwater.rows("SELECT count(*) FROM completions WHERE id = %s", completion) == [(1,)]


def without_request_id(response: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in response.json().items() if name != "request_id"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("cursor=x", 400, "invalid_cursor"),
        ("cursor=", 400, "invalid_cursor"),
        ("cursor=%00", 400, "invalid_cursor"),
        ("limit=0", 422, "validation_failed"),
        ("limit=-1", 422, "validation_failed"),
        ("limit=201", 422, "validation_failed"),
        ("limit=many", 422, "validation_failed"),
        ("limit=", 422, "validation_failed"),
        ("limit=1e1", 422, "validation_failed"),
        (f"limit={'9' * 5000}", 422, "validation_failed"),
    ],
)
@pytest.mark.parametrize("path", [COMPLETIONS, CONVERSATIONS, KEYS])
async def test_pages(
    client: httpx.AsyncClient, admin: httpx.AsyncClient, path: str, query: str, status: int, code: str
) -> None:
    caller = admin if path == KEYS else client
    assert_told(await caller.get(f"{path}?{query}"), status, code)


@pytest.mark.parametrize(
    "query",
    [
        "status=sleeping",
        "status=%00",
        "conversation_id=x",
        "created_after=yesterday",
        "created_after=99999999999999999999",
        "created_after=0",
        "created_after=1760000000.5",
        "created_after=2026-01-01T00:00:00",
        "created_before=NaN",
        "created_before=2026-13-01",
    ],
)
async def test_filters_of_completions(client: httpx.AsyncClient, query: str) -> None:
    assert_told(await client.get(f"{COMPLETIONS}?{query}"), 422, "validation_failed")


@pytest.mark.parametrize(
    "query", ["created_after=0001-01-01T00:00:00%2B14:00", "created_before=9999-12-31T23:59:59-14:00", "status=failed"]
)
async def test_far_away_times_are_no_bad_input(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{COMPLETIONS}?{query}")).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("title=%00", 422),
        ("title=", 422),
        ("external_id=a%00", 422),
        ("metadata=%00", 400),
        ("metadata={", 400),
        ("metadata=5", 422),
        ("metadata=[]", 422),
        ('metadata={"a":"\\u0000"}', 422),
        ('metadata={"a":"\\ud800"}', 400),
    ],
)
async def test_filters_of_conversations(client: httpx.AsyncClient, query: str, status: int) -> None:
    name, _, value = query.partition("=")
    response = await client.get(CONVERSATIONS, params={name: value.replace("%00", "\x00")})
    assert_told(response, status, "invalid_json" if status == 400 else "validation_failed")


async def test_the_longest_filters_fit_into_an_address(client: httpx.AsyncClient) -> None:
    longest = {"metadata": "𝄞" * 4000, "title": "𝄞" * 500, "external_id": "𝄞" * 500, "limit": "1"}
    assert_told(await client.get(CONVERSATIONS, params=longest), 400, "invalid_json")
    longer = longest | {"metadata": "x" * 4001}
    assert_told(await client.get(CONVERSATIONS, params=longer), 422, "validation_failed")


@dataclass(frozen=True)
class Finished:
    """A completion that has ended, and the position of its last event."""

    stream: str
    last: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finished(client: httpx.AsyncClient) -> Finished:
    response = await client.post(COMPLETIONS, json=COMPLETION)
    last = int(response.text.rsplit("id: ", 1)[1].partition("\n")[0])
    return Finished(f"{response.headers['location']}/stream", last)


@pytest.mark.parametrize(
    "position", ["x", "-1", "+1", "1.0", "1e1", "1x", "0x1", "٣", "1,2", "9" * 16, "9" * 5000, "NaN"]
)
@pytest.mark.parametrize("where", ["header", "query"])
async def test_position_that_is_no_number(
    client: httpx.AsyncClient, finished: Finished, where: str, position: str
) -> None:
    if where == "header":
        response = await client.get(finished.stream, headers=[(b"last-event-id", position.encode())])
    else:
        response = await client.get(finished.stream, params={"after": position})
    assert_told(response, 400, "invalid_position")


async def test_positions_are_looked_at_even_where_they_do_not_count(
    client: httpx.AsyncClient, finished: Finished
) -> None:
    twice = await client.get(finished.stream, params={"after": "x"}, headers={"last-event-id": "1"})
    assert_told(twice, 400, "invalid_position")
    first = await client.post(COMPLETIONS, json=COMPLETION, headers={"last-event-id": "x"})
    assert_told(first, 400, "invalid_position")
    polled = await client.get(
        finished.stream.replace("/completions/", "/responses/").removesuffix("/stream"), headers={"last-event-id": "x"}
    )
    assert polled.status_code == 400, polled.text


@pytest.mark.parametrize("beyond", [1, 1000, 999_999_999_999])
async def test_position_beyond_the_end(client: httpx.AsyncClient, finished: Finished, beyond: int) -> None:
    response = await client.get(finished.stream, headers={"last-event-id": str(finished.last + beyond)})
    assert_told(response, 400, "position_beyond_end")


async def test_dialect_of_a_stream(client: httpx.AsyncClient, finished: Finished) -> None:
    assert_told(await client.get(finished.stream, params={"dialect": "klingon"}), 422, "validation_failed")


@pytest.mark.parametrize(
    ("name", "status"),
    [("x-on-disconnect", 400), ("x-store", 400), ("anthropic-version", 200), ("anthropic-beta", 200)],
)
async def test_headers_of_messages(client: httpx.AsyncClient, name: str, status: int) -> None:
    for value in (SECRET.encode(), SECRET.encode() + b"\xe9", b"a" * 5000):
        response = await client.post(MESSAGES, json=MESSAGE, headers=[(name.encode(), value)])
        assert response.status_code in (status, 400), response.text
        assert SECRET not in response.text
        if response.status_code == 400:
            assert response.json()["error"]["type"] == "invalid_request_error"
            assert response.json()["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/nothing", "/v1/completions/x/y", "/v1/messages/nothing", "/v2/messages", "/%00"]
)
async def test_unknown_address(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert_told(response, 404, "not_found")
    if path.startswith(MESSAGES):
        assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", MESSAGES, {"POST"}),
        ("PUT", MESSAGES, {"POST"}),
        ("DELETE", COUNT, {"POST"}),
        ("PATCH", COMPLETIONS, {"GET", "POST"}),
        ("OPTIONS", COMPLETIONS, {"GET", "POST"}),
        ("OPTIONS", MESSAGES, {"POST"}),
        ("POST", f"{COMPLETIONS}/{NOBODY}/stream", {"GET"}),
        ("GET", f"{COMPLETIONS}/{NOBODY}/cancel", {"POST"}),
        ("PUT", KEYS, {"GET", "POST"}),
        ("TRACE", COMPLETIONS, {"GET", "POST"}),
    ],
)
async def test_unknown_method(client: httpx.AsyncClient, method: str, path: str, allowed: set[str]) -> None:
    response = await client.request(method, path)
    assert_told(response, 405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == allowed


async def test_head(client: httpx.AsyncClient) -> None:
    for path, status in [(COMPLETIONS, 405), (MESSAGES, 405), ("/v1/nothing", 404)]:
        response = await client.head(path)
        assert response.status_code == status
        assert response.headers["request-id"]
        assert response.content == b""
