"""Whatever is sent, the answer is a clear error in the right shape, and nothing is left behind in the database."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.compat.support import Headwater, running
from tests.conftest import LOGS
from tests.support.postgres import Postgres
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETIONS: Final = "/v1/completions"
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
CONVERSATIONS: Final = "/v1/conversations"
KEYS: Final = "/v1/keys"
NOBODY: Final = "01980000-0000-7000-8000-000000000000"

MAX_BODY: Final = 200_000
SECRET: Final = "s3cret-value-of-a-header"

COMPLETION: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 50}
USER: Final[dict[str, Any]] = {"role": "user", "content": "Hello."}
MESSAGE: Final[dict[str, Any]] = {"model": "claude-sim", "messages": [USER], "max_tokens": 50}
KEY: Final[dict[str, Any]] = {"name": "shop", "scopes": ["completions"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    async with running(postgres, tmp_path_factory.mktemp("service"), max_body=MAX_BODY) as running_one:
        yield running_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client(headwater.service.admin_key) as client:
        yield client


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


def assert_told(response: httpx.Response, status: int, code: str) -> None:
    """An error in the shape of its path, with the id of its request."""
    assert response.status_code == status, response.text
    assert response.headers["request-id"] == response.headers["x-request-id"]
    body = response.json()
    assert body["request_id"] == response.headers["request-id"]
    if response.request.url.path.startswith(MESSAGES):
        assert response.headers["content-type"] == "application/json"
        assert (body["type"], body["error"]["details"]["error_code"]) == ("error", code)
        assert body["error"]["message"]
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert (body["type"], body["status"]) == (f"/problems/{code}", status)
        assert body["detail"]


@dataclass(frozen=True)
class Sent:
    """A body, and the error that answers it."""

    name: str
    content: bytes
    status: int = 422
    code: str = "validation_failed"


def sent(base: dict[str, Any], name: str, /, **changes: Any) -> Sent:
    return Sent(name, json.dumps(base | changes).encode())


def each(base: dict[str, Any], field_name: str, *values: Any) -> list[Sent]:
    """One body for each value of a field."""
    return [
        Sent(f"{field_name}-{str(value)[:20]}", json.dumps(base | {field_name: value}).encode()) for value in values
    ]


def without(base: dict[str, Any], field_name: str) -> Sent:
    body = {name: value for name, value in base.items() if name != field_name}
    return Sent(f"no-{field_name}", json.dumps(body).encode())


def unreadable(base: dict[str, Any]) -> list[Sent]:
    """What no endpoint that takes `base` can read."""
    whole = json.dumps(base).encode()
    opened = whole[:-1]
    bodies = {
        "empty": b"",
        "blank": b"  \n",
        "cut": opened,
        "no-json": b"model=claude-sim&input=Hello",
        "two": whole + whole,
        "NaN": opened + b', "metadata": NaN}',
        "Infinity": opened + b', "metadata": -Infinity}',
        "too-large-a-float": opened + b', "metadata": 1e999}',
        "too-long-an-integer": opened + b', "metadata": ' + b"9" * 5000 + b"}",
        "invalid-utf8": opened + b', "metadata": "\xff\xfe"}',
        "surrogate-in-utf8": opened + b', "metadata": "\xed\xa0\x80"}',
        "utf16": json.dumps(base).encode("utf-16"),
        "lone-high-surrogate": opened + b', "metadata": "\\ud800"}',
        "lone-low-surrogate": opened + b', "metadata": {"\\udc00": 1}}',
        "control-character": opened + b', "metadata": "\x00"}',
        "nested-deeply": opened + b', "metadata": ' + b"[" * 300 + b"]" * 300 + b"}",
        "nested-very-deeply": opened + b', "metadata": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    }
    return [Sent(name, content, 400, "invalid_json") for name, content in bodies.items()]


def no_object() -> list[Sent]:
    return [Sent(f"a-{body.decode()}", body, 400, "invalid_json") for body in (b"[]", b'"a"', b"5", b"null", b"true")]


MAX_TOKENS: Final[list[Any]] = [-1, 1_000_001, 10**30, 1.5, "50", True, [], {}]

BAD_COMPLETIONS: Final = [
    *unreadable(COMPLETION),
    *no_object(),
    *[without(COMPLETION, name) for name in COMPLETION],
    *each(COMPLETION, "max_tokens", *MAX_TOKENS, 0, None),
    sent(COMPLETION, "unknown-field", colour="blue"),
    sent(COMPLETION, "messages-field", messages=[USER]),
    *each(COMPLETION, "model", 5, None, "", "m" * 201, ["m"], "m\x00"),
    *each(COMPLETION, "input", 5, None, "", [], {}, ["Hello."], [5], [None]),
    sent(COMPLETION, "input-without-role", input=[{"content": "Hello."}]),
    sent(COMPLETION, "input-without-content", input=[{"role": "user"}]),
    sent(COMPLETION, "input-with-a-role-of-no-text", input=[{"role": 5, "content": "Hello."}]),
    sent(COMPLETION, "input-with-NUL-in-a-role", input=[{"role": "user\x00", "content": "Hello."}]),
    *each(COMPLETION, "stream", "yes", 1, None, "true"),
    *each(COMPLETION, "store", "yes", 0, None),
    *each(COMPLETION, "on_disconnect", "explode", 1, None, True),
    *each(COMPLETION, "conversation_id", "x", 5, [], f"{NOBODY}\x00"),
    *each(COMPLETION, "metadata", [], "a", 5, None),
    sent(COMPLETION, "metadata-with-NUL", metadata={"a": "\x00"}),
    sent(COMPLETION, "metadata-with-NUL-in-a-name", metadata={"a": {"\x00": 1}}),
    sent(COMPLETION, "metadata-too-large", metadata={"a": "b" * 17_000}),
    sent(COMPLETION, "temperature", temperature=1.1),
    sent(COMPLETION, "top_k", top_k=-1),
    sent(COMPLETION, "system", system=5),
    sent(COMPLETION, "tools", tools={"name": "a"}),
    sent(COMPLETION, "thinking", thinking=True),
]

BAD_MESSAGES: Final = [
    *unreadable(MESSAGE),
    *no_object(),
    *[without(MESSAGE, name) for name in MESSAGE],
    *each(MESSAGE, "max_tokens", *MAX_TOKENS),
    *each(MESSAGE, "model", 5, None, "", "m" * 201, ["m"], "m\x00"),
    *each(MESSAGE, "messages", 5, None, "", [], {}, ["Hello."], [5], [None]),
    sent(MESSAGE, "message-without-role", messages=[{"content": "Hello."}]),
    sent(MESSAGE, "message-without-content", messages=[{"role": "user"}]),
    sent(MESSAGE, "message-with-NUL-in-a-role", messages=[{"role": "user\x00", "content": "Hello."}]),
    *each(MESSAGE, "stream", "yes", 1, None),
]

# What only the upstream can judge. Here it must reach it, and its refusal the caller.
REFUSED_UPSTREAM: Final[dict[str, dict[str, Any]]] = {
    "role": {"messages": [{"role": "narrator", "content": "Hello."}]},
    "content-of-no-kind": {"messages": [{"role": "user", "content": 5}]},
    "content-null": {"messages": [{"role": "user", "content": None}]},
    "block-of-no-kind": {"messages": [{"role": "user", "content": [5]}]},
    "block-without-type": {"messages": [{"role": "user", "content": [{"text": "Hello."}]}]},
    "tools-a-number": {"tools": 5},
    "tools-true": {"tools": True},
    "tools-a-text": {"tools": "hammer"},
    "tools-an-object": {"tools": {"name": "a"}},
    "tools-of-no-kind": {"tools": [5, None]},
    "system-of-no-kind": {"system": 5},
    "thinking-of-no-kind": {"thinking": True},
    "metadata-of-no-kind": {"metadata": ["a"]},
    "stop_sequences-of-no-kind": {"stop_sequences": "\n"},
    "temperature-of-no-kind": {"temperature": "warm"},
}

BAD_CONTENTS: Final = each({"role": "user"}, "content", 5, None, [], [{}], {}, [{"type": 5}], [{"type": ""}])
BAD_CONVERSATIONS: Final = [
    *[bad for bad in unreadable({"title": "a"}) if bad.name not in ("too-long-an-integer", "nested-deeply")],
    *[Sent(f"a-{body.decode()}", body) for body in (b"[]", b'"a"', b"5", b"null")],
    sent({}, "unknown-field", colour="blue"),
    *each({}, "title", 5, "t" * 501, "a\x00"),
    *each({}, "external_id", 5, "", "e" * 201, "\x00"),
    *each({}, "system", 5, [], [5], [{"type": "image"}], {}),
    *each({}, "metadata", 5, [], "a", {"a": "\x00"}, {"\x00": "a"}),
    sent({}, "metadata-too-large", metadata={"a": "b" * 17_000}),
    Sent("metadata-with-a-large-exponent", b'{"metadata": {"a": 1e9999}}'),
    *each({}, "messages", 5, {}, [5], [{}], [{"role": "user"}]),
    sent({}, "message-role", messages=[{"role": "narrator", "content": "a"}]),
    sent({}, "message-unknown-field", messages=[{"role": "user", "content": "a", "colour": "blue"}]),
    *[Sent(f"messages-with-{bad.name}", b'{"messages": [' + bad.content + b"]}") for bad in BAD_CONTENTS],
]

BAD_KEYS: Final = [
    *[Sent(f"json-{body!r}", body, 400, "invalid_json") for body in (b"{", b"{'a': 1}")],
    *[Sent(f"a-{body!r}", body) for body in (b"[]", b'"a"', b"5", b"null", b"")],
    *[without(KEY, name) for name in KEY],
    sent(KEY, "unknown-field", colour="blue"),
    *each(KEY, "name", 5, None, "", "n" * 201, "a\x00"),
    Sent("name-with-a-lone-surrogate", b'{"name": "\\ud800", "scopes": ["completions"]}'),
    *each(KEY, "scopes", 5, [], ["everything"], "admin", [None]),
    *each(KEY, "tenant", 5, "", "a b", "a\x00", "a\n", "é", "t" * 101),
    *each(KEY, "allowed", "speed", [5], ["a b"], ["a\x00"], ["a"] * 101),
    *each(
        KEY,
        "expires_at",
        "tomorrow",
        "2020-01-01T00:00:00Z",
        "2030-01-01T00:00:00",
        "9999-01-01T00:00:00Z",
        10**20,
        True,
    ),
    Sent("expires_at-NaN", b'{"name": "a", "scopes": ["completions"], "expires_at": NaN}'),
    Sent("expires_at-Infinity", b'{"name": "a", "scopes": ["completions"], "expires_at": Infinity}'),
]


def table(*rows: Sent) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in rows])


async def refused(headwater: Headwater, client: httpx.AsyncClient, path: str, bad: Sent) -> httpx.Response:
    """The answer; nothing was stored, and nobody asked."""
    counts, asked = headwater.counts(), len(headwater.upstream.requests)
    response = await client.post(path, content=bad.content, headers={"content-type": "application/json"})
    assert headwater.counts() == counts
    assert len(headwater.upstream.requests) == asked
    return response


@table(*BAD_COMPLETIONS)
async def test_completions(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    assert_told(await refused(headwater, client, COMPLETIONS, bad), bad.status, bad.code)


@table(*BAD_MESSAGES)
async def test_messages(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    response = await refused(headwater, client, MESSAGES, bad)
    # Clients of this API know no 422.
    code = response.json()["error"]["details"]["error_code"]
    assert_told(response, 400, code)
    assert code in (bad.code, "invalid_request")
    assert response.json()["error"]["type"] == "invalid_request_error"


@table(*[bad for bad in BAD_MESSAGES if "max_tokens" not in bad.name and bad.name != "message-with-NUL-in-a-role"])
async def test_count_tokens(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    response = await refused(headwater, client, COUNT, bad)
    assert response.status_code == 400, response.text
    assert response.json()["request_id"] == response.headers["request-id"]
    assert response.json()["error"]["type"] == "invalid_request_error"


@table(*BAD_CONVERSATIONS)
async def test_conversations(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    response = await refused(headwater, client, CONVERSATIONS, bad)
    assert response.status_code in (400, 422)
    assert_told(response, response.status_code, "invalid_json" if response.status_code == 400 else "validation_failed")


@table(*[bad for bad in BAD_CONVERSATIONS if not bad.name.startswith("messages")])
async def test_changes_of_a_conversation(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    fields = {"title": "a", "metadata": {"b": 1}}
    conversation = (await client.post(CONVERSATIONS, json=fields)).json()
    response = await client.patch(f"{CONVERSATIONS}/{conversation['id']}", content=bad.content)
    assert response.status_code in (400, 422)
    assert_told(response, response.status_code, "invalid_json" if response.status_code == 400 else "validation_failed")
    assert (await client.get(f"{CONVERSATIONS}/{conversation['id']}")).json() == conversation


@table(*BAD_CONTENTS, *each(USER, "role", "narrator", "", None, 5), *each(USER, "colour", "blue"), Sent("none", b"[]"))
async def test_messages_of_a_conversation(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    conversation = (await client.post(CONVERSATIONS, json={})).json()["id"]
    messages = f"{CONVERSATIONS}/{conversation}/messages"
    assert_told(await refused(headwater, client, messages, bad), 422, "validation_failed")
    if bad.content != b"[]":
        several = Sent(bad.name, b"[" + json.dumps(USER).encode() + b"," + bad.content + b"]")
        assert_told(await refused(headwater, client, messages, several), 422, "validation_failed")


@table(
    *each({}, "completion_id", "x", 5, None, NOBODY + "\x00"),
    *each({"completion_id": NOBODY}, "conversation_id", NOBODY),
    *each({"completion_id": NOBODY}, "ttl_seconds", 0, -1, 3601, "60", True, 1.5, 10**30),
    *each({"completion_id": NOBODY}, "scopes", ["admin"]),
)
async def test_tokens(headwater: Headwater, client: httpx.AsyncClient, bad: Sent) -> None:
    assert_told(await refused(headwater, client, "/v1/tokens", bad), 422, "validation_failed")


@table(*BAD_KEYS)
async def test_keys(headwater: Headwater, admin: httpx.AsyncClient, bad: Sent) -> None:
    assert_told(await refused(headwater, admin, KEYS, bad), bad.status, bad.code)


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
@pytest.mark.parametrize("changes", [pytest.param(body, id=name) for name, body in REFUSED_UPSTREAM.items()])
async def test_what_the_upstream_refuses(client: httpx.AsyncClient, changes: dict[str, Any], path: str) -> None:
    body = {name: value for name, value in (MESSAGE | changes).items() if path == MESSAGES or name != "max_tokens"}
    response = await client.post(path, json=body)

    if path == COUNT and response.status_code == 200:
        assert response.json()["input_tokens"] > 0  # it has fewer fields to look at
    else:
        assert_told(response, 400, "upstream_refused")
        assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["gpt-5", "Ω", "a\nb", "../..", "sim-nothing", "'; DROP TABLE keys; --"])
async def test_unknown_model(client: httpx.AsyncClient, model: str) -> None:
    native = await client.post(COMPLETIONS, json=COMPLETION | {"model": model})
    anthropic = await client.post(MESSAGES, json=MESSAGE | {"model": model})

    assert_told(native, 404, "upstream_refused")
    assert_told(anthropic, 404, "upstream_refused")
    assert anthropic.json()["error"]["type"] == "not_found_error"


async def test_strange_text_is_no_bad_input(headwater: Headwater, client: httpx.AsyncClient) -> None:
    """What is only kept as bytes may hold anything that JSON can."""
    strange = "NUL \x00, DEL \x7f, BOM \ufeff, \u2028, \U0010ffff, \ufdd0 and \\u0000"
    response = await client.post(COMPLETIONS, json=COMPLETION | {"input": strange, "system": strange, "stream": False})

    assert response.status_code == 200, response.text
    assert response.json()["request"]["messages"] == [{"role": "user", "content": strange}]
    assert headwater.upstream.requests[-1].body["messages"] == [{"role": "user", "content": strange}]


async def test_large_numbers_are_no_bad_input(headwater: Headwater, client: httpx.AsyncClient) -> None:
    whole = [2**64, -(2**70), 10**4000]
    numbers = [*whole, 1.5e300, 1e-300]
    asked = COMPLETION | {"metadata": {"whole": whole}, "diagnostics": {"numbers": numbers}, "stream": False}
    created = await client.post(COMPLETIONS, json=asked)
    assert created.status_code == 200, created.text

    read = await client.get(f"{COMPLETIONS}/{created.json()['id']}")
    assert read.json()["metadata"]["whole"] == whole
    assert read.json()["request"]["diagnostics"]["numbers"] == numbers
    assert headwater.upstream.requests[-1].body["diagnostics"]["numbers"] == numbers
    assert (await client.get(COMPLETIONS)).status_code == 200


async def test_history_nested_deeply(headwater: Headwater, client: httpx.AsyncClient) -> None:
    """Whatever a conversation takes, a completion in it can send; or says why not, and leaves it free."""
    for depth in (50, 99, 101, 400, 900):
        nested = b'{"type": "text", "text": "a", "a": ' + b"[" * depth + b"]" * depth + b"}"
        body = b'{"messages": [{"role": "user", "content": [' + nested + b"]}]}"
        made = await client.post(CONVERSATIONS, content=body)
        if made.status_code != 201:
            assert_told(made, 400, "invalid_json")
            continue
        asked = COMPLETION | {"conversation_id": made.json()["id"], "stream": False}
        assert (await client.post(COMPLETIONS, json=asked)).status_code == 200, depth


async def test_escaped_backslashes_are_no_nul(client: httpx.AsyncClient) -> None:
    metadata = {"path": "C:\\u0000\\ud800"}
    response = await client.post(COMPLETIONS, json=COMPLETION | {"metadata": metadata, "stream": False})

    assert response.json()["metadata"] == metadata


# --- Large bodies


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, COUNT, CONVERSATIONS])
async def test_a_huge_body_is_a_413(headwater: Headwater, client: httpx.AsyncClient, path: str) -> None:
    bad = Sent("huge", b'{"input": "' + b"a" * MAX_BODY + b'"}')
    assert_told(await refused(headwater, client, path, bad), 413, "request_too_large")


async def test_a_huge_body_of_a_key_is_a_413(headwater: Headwater, admin: httpx.AsyncClient) -> None:
    bad = Sent("huge", b'{"name": "' + b"a" * MAX_BODY + b'"}')
    assert_told(await refused(headwater, admin, KEYS, bad), 413, "request_too_large")


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, CONVERSATIONS])
async def test_a_huge_body_without_a_length_is_a_413(
    headwater: Headwater, client: httpx.AsyncClient, path: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 10_000 + 2):
            yield b"[" * 10_000

    counts = headwater.counts()
    assert_told(await client.post(path, content=body()), 413, "request_too_large")
    assert headwater.counts() == counts


async def test_a_huge_body_is_refused_before_it_is_sent(headwater: Headwater) -> None:
    url = httpx.URL(headwater.service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {headwater.service.key}\r\ncontent-length: 999999999"
    writer.write(f"{head}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_at_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = json.dumps(COMPLETION | {"stream": False}).encode()
    padded = body + b" " * (MAX_BODY - len(body))
    assert (await client.post(COMPLETIONS, content=padded)).status_code == 200
    assert_told(await client.post(COMPLETIONS, content=padded + b" "), 413, "request_too_large")


# --- Addresses, queries and headers


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
    bad = sent(COMPLETION, "unknown", conversation_id=NOBODY)
    assert_told(await refused(headwater, client, COMPLETIONS, bad), 404, "not_found")


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


@pytest.fixture(scope="module")
def finished(headwater: Headwater) -> "Finished":
    return Finished()


@dataclass
class Finished:
    """A completion that has ended: made by the first test that needs it."""

    id: str = ""
    last: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def made(self, client: httpx.AsyncClient) -> "Finished":
        async with self._lock:
            if not self.id:
                response = await client.post(COMPLETIONS, json=COMPLETION)
                self.id = response.headers["x-completion-id"]
                self.last = int(response.text.rsplit("id: ", 1)[1].partition("\n")[0])
        return self


@pytest.mark.parametrize(
    "position", ["x", "-1", "+1", "1.0", "1e1", "1x", "0x1", "٣", "1,2", "9" * 16, "9" * 5000, "NaN"]
)
@pytest.mark.parametrize("where", ["header", "query"])
async def test_position_that_is_no_number(
    client: httpx.AsyncClient, finished: Finished, where: str, position: str
) -> None:
    stream = f"{COMPLETIONS}/{(await finished.made(client)).id}/stream"
    if where == "header":
        response = await client.get(stream, headers=[(b"last-event-id", position.encode())])
    else:
        response = await client.get(stream, params={"after": position})
    assert_told(response, 400, "invalid_position")


@pytest.mark.parametrize("beyond", [1, 1000, 999_999_999_999])
async def test_position_beyond_the_end(client: httpx.AsyncClient, finished: Finished, beyond: int) -> None:
    stream = f"{COMPLETIONS}/{(await finished.made(client)).id}/stream"
    response = await client.get(stream, headers={"last-event-id": str(finished.last + beyond)})
    assert_told(response, 400, "position_beyond_end")


async def test_dialect_of_a_stream(client: httpx.AsyncClient, finished: Finished) -> None:
    stream = f"{COMPLETIONS}/{(await finished.made(client)).id}/stream"
    assert_told(await client.get(stream, params={"dialect": "klingon"}), 422, "validation_failed")


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


# --- Who asks


ENDPOINTS: Final = [
    ("POST", COMPLETIONS),
    ("GET", COMPLETIONS),
    ("GET", f"{COMPLETIONS}/{NOBODY}"),
    ("GET", f"{COMPLETIONS}/{NOBODY}/stream"),
    ("POST", f"{COMPLETIONS}/{NOBODY}/cancel"),
    ("DELETE", f"{COMPLETIONS}/{NOBODY}"),
    ("POST", MESSAGES),
    ("POST", COUNT),
    ("POST", CONVERSATIONS),
    ("GET", CONVERSATIONS),
    ("GET", f"{CONVERSATIONS}/{NOBODY}"),
    ("GET", f"{CONVERSATIONS}/{NOBODY}/messages"),
    ("POST", KEYS),
    ("GET", KEYS),
    ("DELETE", f"{KEYS}/{NOBODY}"),
    ("POST", "/v1/tokens"),
]
BY_NOBODY: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "nothing": ({}, "no_api_key"),
    "empty": ({"authorization": ""}, "no_api_key"),
    "bearer-of-nothing": ({"authorization": "Bearer"}, "no_api_key"),
    "basic": ({"authorization": "Basic aGVsbG86d29ybGQ="}, "no_api_key"),
    "empty-api-key": ({"x-api-key": ""}, "no_api_key"),
    "short": ({"authorization": f"Bearer {SECRET}"}, "invalid_api_key"),
    "like-a-key": ({"x-api-key": "hw_" + "a" * 43}, "invalid_api_key"),
    "like-a-token": ({"x-api-key": "hwt_" + "a" * 43}, "invalid_api_key"),
    "long": ({"x-api-key": SECRET * 400}, "invalid_api_key"),
    "not-ascii": ({"x-api-key": b"hw_\xff\xfe" + SECRET.encode()}, "invalid_api_key"),
    "no-ascii-bearer": ({"authorization": b"Bearer \xff\xfe"}, "invalid_api_key"),
}


@pytest.mark.parametrize(("headers", "code"), [pytest.param(*row, id=name) for name, row in BY_NOBODY.items()])
async def test_without_a_valid_key(headwater: Headwater, headers: dict[str, Any], code: str) -> None:
    counts = headwater.counts()
    async with httpx.AsyncClient(base_url=headwater.service.url, headers=headers) as nobody:
        for method, path in ENDPOINTS:
            response = await nobody.request(method, path)
            assert_told(response, 401, code)
            if path.startswith(MESSAGES):
                assert response.json()["error"]["type"] == "authentication_error"
            assert SECRET not in response.text
            assert "aaaaa" not in response.text
    assert headwater.counts() == counts


async def test_revoked_key(headwater: Headwater, admin: httpx.AsyncClient) -> None:
    made = (await admin.post(KEYS, json=KEY)).json()
    async with headwater.client(made["secret"]) as client:
        assert (await client.get(COMPLETIONS)).status_code == 200
        assert (await admin.delete(f"{KEYS}/{made['id']}")).status_code == 204
        assert_told(await client.get(COMPLETIONS), 401, "invalid_api_key")
        assert_told(await client.post(MESSAGES, json=MESSAGE), 401, "invalid_api_key")


async def test_key_without_the_scope(headwater: Headwater, admin: httpx.AsyncClient) -> None:
    lacks = {
        "conversations": [("POST", COMPLETIONS), ("GET", COMPLETIONS), ("POST", MESSAGES), ("POST", COUNT)],
        "completions": [("POST", CONVERSATIONS), ("GET", f"{CONVERSATIONS}/{NOBODY}"), ("GET", KEYS)],
        "admin": [("POST", COMPLETIONS), ("GET", CONVERSATIONS), ("POST", "/v1/tokens")],
    }
    for scope, endpoints in lacks.items():
        async with headwater.client(await make_key(admin, scope)) as client:
            for method, path in endpoints:
                response = await client.request(method, path, json=MESSAGE)
                assert_told(response, 403, "missing_scope")
                if path.startswith(MESSAGES):
                    assert response.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, CONVERSATIONS, KEYS])
async def test_key_in_the_url(headwater: Headwater, path: str) -> None:
    for secret in (headwater.service.key, headwater.service.admin_key):
        async with httpx.AsyncClient(base_url=headwater.service.url) as client:
            response = await client.post(path, params={"token": secret}, json=COMPLETION)
            assert_told(response, 401, "key_in_url")
            assert secret not in response.text


async def test_unknown_token_in_the_url_goes_before_a_key(client: httpx.AsyncClient) -> None:
    for token in ("x", "hwt_" + "a" * 43, "\x00", "é🙂"):
        assert_told(await client.get(COMPLETIONS, params={"token": token}), 401, "invalid_api_key")


async def test_keys_are_not_logged(headwater: Headwater, client: httpx.AsyncClient) -> None:
    await client.get(COMPLETIONS)
    (log,) = headwater.folder.glob("*.log")
    text = log.read_text()
    assert '"path":"/v1/completions"' in text
    for secret in (headwater.service.key, headwater.service.admin_key, "the-upstreams-own-key", SECRET):
        assert secret not in text


# --- What the framework answers by itself


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
    assert set(response.headers["allow"].split(", ")) <= allowed


async def test_head(client: httpx.AsyncClient) -> None:
    for path, status in [(COMPLETIONS, 405), (MESSAGES, 405), ("/v1/nothing", 404)]:
        response = await client.head(path)
        assert response.status_code == status
        assert response.headers["request-id"]
        assert response.content == b""
