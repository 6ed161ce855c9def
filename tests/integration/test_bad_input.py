"""Whatever is sent, the answer is a clear error in the right shape, and nothing is left behind in the database."""

import json
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.support.headwater import Headwater, assert_told

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETIONS: Final = "/v1/completions"
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
CONVERSATIONS: Final = "/v1/conversations"
KEYS: Final = "/v1/keys"
NOBODY: Final = "01980000-0000-7000-8000-000000000000"


COMPLETION: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 50}
USER: Final[dict[str, Any]] = {"role": "user", "content": "Hello."}
MESSAGE: Final[dict[str, Any]] = {"model": "claude-sim", "messages": [USER], "max_tokens": 50}
KEY: Final[dict[str, Any]] = {"name": "shop", "scopes": ["completions"]}


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
