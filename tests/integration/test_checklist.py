"""What every dialect promises on the wire, one promise a test."""

import asyncio
import json
import re
from itertools import pairwise
from typing import Any, Final

import httpx
import pytest

from local.upstream import directives, schema
from local.upstream.answers import compose
from local.upstream.faults import FAULTS
from tests.integration.fault_table import STOP_REASONS, stopped
from tests.support.dialects import CHAT, DIALECTS, MESSAGES, PLAIN, RESPONSES, UI, Dialect
from tests.support.headwater import Headwater, frames, until
from tests.support.service import StartService, make_key
from tests.support.sse import sent_events
from tests.support.ui_message import chunks_of, message_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE: Final = {"max_retries": 0, "peek_timeout": 20, "disconnect_grace": 0.3}
LONG: Final = "sim-ok?rate=20&tokens=2000&first_ms=0"
WEATHER: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CANCELLED: Final = {
    PLAIN: ("error", "cancelled"),
    MESSAGES: ("error", "cancelled"),
    CHAT: ("error", "cancelled", "[DONE]"),
    RESPONSES: ("response.failed", "cancelled"),
    UI: ("abort",),
}
# What the last frame of a stream that was cut off in the middle speaks of.
CUT: Final = {dialect: "response.failed" if dialect is RESPONSES else "error" for dialect in DIALECTS}

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def named(model: str, dialect: Dialect, test: str) -> str:
    """The model under a name of the test's own."""
    return f"{model}{'&' if '?' in model else '?'}key={test}-{dialect.name}"


def stream_of(response: httpx.Response) -> str:
    """Where the stream of an answer can be read again."""
    return f"/v1/completions/{response.headers['x-completion-id']}/stream"


# -- requests and errors


async def test_both_auth_headers_and_both_versions(headwater: Headwater) -> None:
    key = headwater.service.key
    credentials = ({"authorization": f"Bearer {key}"}, {"x-api-key": key})
    async with httpx.AsyncClient(base_url=headwater.service.url, timeout=30) as nobody:
        for credential in credentials:
            for version in ("2023-06-01", "2026-10-21"):
                headers = credential | {"anthropic-version": version}
                response = await nobody.post(MESSAGES.path, json=MESSAGES.body("claude-sim"), headers=headers)
                assert MESSAGES.told(response).end == ("200", "end_turn")
                sent = headwater.upstream.requests[-1].headers
                assert sent["anthropic-version"] == version
                assert key not in str(sent)
        for path, body in ((CHAT.path, CHAT.body("claude-sim")), (RESPONSES.path, RESPONSES.body("claude-sim"))):
            assert (await nobody.post(path, json=body, headers=credentials[0])).status_code == 200
        for dialect in DIALECTS:
            assert dialect.told(await dialect.ask(nobody, "claude-sim", "stream")).end[0] == "401"


@every_dialect
async def test_an_error_before_the_first_byte_is_a_status_in_the_dialects_shape(
    client: httpx.AsyncClient, dialect: Dialect
) -> None:
    """With the request's id in the headers, and also where a stream was asked for."""
    for model, status in (("sim-400", "400"), ("sim-429", "429"), ("sim-500", "502"), ("no such\nmodel", "4")):
        for way in [way for way in dialect.ways if way != "polled"]:
            response = await dialect.ask(client, model, way)
            assert dialect.refused(response).end[0].startswith(status)
            assert response.headers["request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("dialect", "method", "path", "headers", "status"),
    [
        (PLAIN, "GET", "/v1/completions/x/nothing", {}, "404"),
        (PLAIN, "PUT", "/v1/completions", {}, "405"),
        (PLAIN, "GET", "/v1/completions?limit=0", {}, "422"),
        (MESSAGES, "GET", "/v1/messages/nothing", {}, "404"),
        (MESSAGES, "GET", "/v1/messages", {}, "405"),
        (MESSAGES, "POST", "/v1/messages", {"x-store": "perhaps"}, "400"),
        (CHAT, "GET", "/v1/chat/nothing", {}, "404"),
        (CHAT, "GET", "/v1/chat/completions", {}, "405"),
        (CHAT, "POST", "/v1/chat/completions", {"x-store": "perhaps"}, "400"),
        (RESPONSES, "GET", "/v1/responses/x/y/z", {}, "404"),
        (RESPONSES, "GET", "/v1/responses", {}, "405"),
        (RESPONSES, "GET", "/v1/responses/x?stream=perhaps", {}, "400"),
        (UI, "GET", "/api/chat/x/nothing", {}, "404"),
        (UI, "GET", "/api/chat", {}, "405"),
        (UI, "POST", "/api/chat", {}, "422"),
    ],
)
async def test_the_frameworks_own_404_405_and_422_come_in_the_dialects_shape(
    client: httpx.AsyncClient, dialect: Dialect, method: str, path: str, headers: dict[str, str], status: str
) -> None:
    """A 422 is a 400 where the dialect's clients know none."""
    body = dialect.body("claude-sim") | ({"messages": 5} if dialect is UI else {})
    response = await client.request(method, path, headers=headers, json=body if method == "POST" else None)
    assert dialect.refused(response).end[0] == status


# -- what a stream is made of


async def test_event_names_are_types_indexes_contiguous_and_one_message_stop_the_last(
    client: httpx.AsyncClient,
) -> None:
    body = MESSAGES.body("claude-sim-thinking") | {"stream": True}
    events = frames((await client.post(MESSAGES.path, json=body)).text)
    names = [event.event for event in events]
    assert names == [event.data["type"] for event in events]
    assert names.index("message_stop") == len(names) - 1
    opened = [event.data["index"] for event in events if event.event == "content_block_start"]
    closed = [event.data["index"] for event in events if event.event == "content_block_stop"]
    assert opened == closed == list(range(len(opened)))
    open_one = None
    for event in events:
        match event.event:
            case "content_block_start":
                assert open_one is None
                open_one = event.data["index"]
            case "content_block_delta":
                assert event.data["index"] == open_one
            case "content_block_stop":
                open_one = None

    responses = sent_events((await RESPONSES.ask(client, "claude-sim-thinking", "stream")).content)
    assert [event.event for event in responses] == [event.data["type"] for event in responses]
    added = [event.data["output_index"] for event in responses if event.event == "response.output_item.added"]
    assert added == list(range(len(added)))


async def test_usage_is_overwritten_not_summed_and_told_when_asked(client: httpx.AsyncClient) -> None:
    model = "sim-ok?tokens=20"  # message_start counts one token, message_delta all of them
    usages = []
    for dialect in (PLAIN, MESSAGES, RESPONSES):
        usages.append((await dialect.ask(client, model, "whole")).json()["usage"]["output_tokens"])
    for options in ({"include_usage": True}, {"include_usage": False}, None):
        response = await CHAT.ask(client, model, "stream", stream_options=options)
        chunks = [frame.data for frame in frames(response.text)][:-1]
        if options == {"include_usage": True}:
            *before, last = chunks
            assert last["choices"] == []
            assert {chunk["usage"] for chunk in before} == {None}
            usages.append(last["usage"]["completion_tokens"])
        else:
            assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)
    page = message_of(chunks_of((await UI.ask(client, f"{model}&key=usage", "stream")).content))
    assert [*usages, page.metadata["outputTokens"]] == [20] * 5


async def test_tool_index_counts_tools_and_arguments_are_valid_json(client: httpx.AsyncClient) -> None:
    """`{}` where nothing is given."""
    tools = [
        {"type": "function", "function": {"name": "ping_tool", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    ]
    body = CHAT.body("claude-sim", "Ask the ping tool and for the weather in Paris, each.")
    streamed = await client.post(CHAT.path, json={**body, "tools": tools, "stream": True})
    chunks = [frame.data for frame in frames(streamed.text)][:-1]
    pieces = [call for chunk in chunks for c in chunk["choices"] for call in c["delta"].get("tool_calls", [])]
    calls: dict[int, str] = {}
    for piece in pieces:
        calls[piece["index"]] = calls.get(piece["index"], "") + piece["function"]["arguments"]
    assert {index: json.loads(arguments) for index, arguments in calls.items()} == {0: {}, 1: {"city": "Paris"}}
    assert chunks[1]["choices"][0]["delta"]["content"]  # a text block came before them

    url = f"{stream_of(streamed)}?dialect="
    output = sent_events((await client.get(url + RESPONSES.stored)).content)[-1].data["response"]["output"]
    assert [json.loads(item["arguments"]) for item in output[1:]] == [{}, {"city": "Paris"}]
    page = message_of(chunks_of((await client.get(url + UI.stored)).content))
    assert [tool["input"] for tool in page.tools] == [{}, {"city": "Paris"}]


async def test_signature_bytes_are_unchanged_through_store_and_replay(
    headwater: Headwater, client: httpx.AsyncClient
) -> None:
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    body = PLAIN.body("claude-sim-thinking") | {"conversation_id": conversation}
    first = await client.post(PLAIN.path, json=body)
    sent = headwater.upstream.requests[-1].body
    meant = compose(schema.parse(sent, schema.MessagesRequest), directives.parse("sim-ok")).message()["content"]
    signature = meant[0]["signature"]

    (told,) = [frame.data["signature"] for frame in frames(first.text) if frame.event == "signature"]
    url = f"{stream_of(first)}?dialect="
    verbatim = (await client.get(url + MESSAGES.stored)).text
    response = sent_events((await client.get(url + RESPONSES.stored)).content)[-1].data["response"]
    page = message_of(chunks_of((await client.get(url + UI.stored)).content))
    assert told == signature
    assert f'"signature":"{signature}"' in verbatim
    assert response["output"][0]["encrypted_content"] == signature
    assert page.reasoning[0]["providerMetadata"]["anthropic"]["signature"] == signature

    again = await client.post(PLAIN.path, json=body | {"input": "And?"})
    assert again.status_code == 200  # the upstream refuses a thought that changed in one byte
    assert headwater.upstream.requests[-1].body["messages"][1]["content"] == meant


@every_dialect
@pytest.mark.parametrize("reason", STOP_REASONS)
async def test_stop_reasons_have_their_words_in_every_dialect(
    client: httpx.AsyncClient, dialect: Dialect, reason: str
) -> None:
    model = named(f"sim-ok?tokens=3&stop_reason={reason}", dialect, "reason")
    assert dialect.told(await dialect.ask(client, model, "stream")).end == stopped(dialect.name, "stream", reason)
    if dialect is not UI:
        assert dialect.told(await dialect.ask(client, model, "whole")).end == stopped(dialect.name, "whole", reason)


# -- bytes


def meant_text(headwater: Headwater, model: str) -> str:
    request = schema.parse(headwater.asked(model)[0].body, schema.MessagesRequest)
    message = compose(request, directives.parse(model)).message()
    return "".join(block["text"] for block in message["content"])


@every_dialect
async def test_emoji_and_combining_characters_survive_at_every_byte_split(
    headwater: Headwater, client: httpx.AsyncClient, dialect: Dialect
) -> None:
    """The upstream sends each byte alone; test_decoders.py cuts at every single place."""
    model = named("sim-tiny-reads", dialect, "split")
    told = dialect.told(await dialect.ask(client, model, "stream"))
    assert told.text == meant_text(headwater, model)
    assert "👩🏽\u200d🚀" in told.text
    assert "e\u0301 a\u0308\u0323" in told.text


@every_dialect
async def test_line_ends_and_framing_inside_text_do_not_break_framing(
    client: httpx.AsyncClient, dialect: Dialect
) -> None:
    response = await dialect.ask(client, named("sim-ok", dialect, "framing"), "stream")
    assert (
        "one\u2028two\u2029three\u0085four \ufeff five\r\nsix\n\ndata: seven\n\nevent: eight"
        in dialect.told(response).text
    )
    lines = re.split(rb"\r\n|\n|\r", response.content)
    assert {line.split(b":")[0] for line in lines if line} <= {b"id", b"event", b"data", b""}
    assert b"\r" not in response.content


async def test_a_comment_keeps_a_silent_stream_alive_before_the_first_token_as_well(
    start_service: StartService,
) -> None:
    """The time is a setting, 15 s unless set."""
    keepalive, silence = 0.3, 3
    service = await start_service(
        peek_timeout=0.1, keepalive=keepalive, first_event_timeout=silence, idle_timeout=silence, max_retries=0
    )

    async def comments(dialect: Dialect, model: str) -> int:
        async with service.client() as client:
            response = await dialect.ask(client, named(model, dialect, "silent"), "stream")
        return response.text.count(": keepalive\n\n")

    cases = [(dialect, model) for dialect in DIALECTS for model in ("sim-silence", "sim-silence-mid")]
    counts = await asyncio.gather(*[comments(*case) for case in cases])
    assert all(count >= silence / keepalive / 2 for count in counts), counts


@every_dialect
async def test_an_upstream_that_is_cut_mid_text_is_an_error_event(client: httpx.AsyncClient, dialect: Dialect) -> None:
    """And the body ends cleanly: httpx raises where it does not."""
    cuts = [fault for fault in FAULTS if fault.startswith(("cut-mid", "end-mid", "error-mid"))]
    assert len(cuts) == 4
    for fault in cuts:
        told = dialect.told(await dialect.ask(client, named(f"sim-{fault}", dialect, "cut"), "stream"))
        assert told.end[0] == CUT[dialect]
        assert told.text


# -- readers that leave, come back and stop


async def leave(client: httpx.AsyncClient, dialect: Dialect, model: str, **options: Any) -> str:
    """Ask, read until there is some text, and go; answers the completion's id."""
    body = {**dialect.body(model), **dialect.wish("stream"), **options.pop("fields", {})}
    async with client.stream("POST", dialect.path, json=body, **options) as response:
        assert response.status_code == 200
        read = ""
        async for piece in response.aiter_text():
            read += piece
            if read.count("data: ") > 8:
                break
    id: str = response.headers["x-completion-id"]
    return id


def state(headwater: Headwater, id: str) -> str:
    ((status,),) = headwater.rows("SELECT status FROM completions WHERE id = %s", id)
    return str(status)


@every_dialect
async def test_a_reader_that_is_gone_leaves_the_generation_running(
    headwater: Headwater, client: httpx.AsyncClient, dialect: Dialect
) -> None:
    model = named("sim-ok?rate=20&tokens=40", dialect, "gone")
    id = await leave(client, dialect, model)
    await until(lambda: state(headwater, id) != "streaming")
    assert state(headwater, id) == "completed"
    assert (await client.get(f"/v1/completions/{id}")).json()["text"] == meant_text(headwater, model)


@pytest.mark.parametrize("dialect", [PLAIN, MESSAGES, CHAT], ids=lambda dialect: dialect.name)
async def test_a_reader_that_is_gone_closes_the_upstream_where_that_is_wanted(
    headwater: Headwater, client: httpx.AsyncClient, dialect: Dialect
) -> None:
    """After the grace period, which is a setting."""
    model = named(LONG, dialect, "closed")
    wish: dict[str, Any] = {"fields": {"on_disconnect": "cancel"}} if dialect is PLAIN else {}
    id = await leave(client, dialect, model, headers={"x-on-disconnect": "cancel"}, **wish)
    await until(lambda: headwater.asked(model)[0].hung_up_at is not None)
    await until(lambda: state(headwater, id) == "cancelled")


@every_dialect
async def test_resuming_after_an_event_gives_exactly_the_rest(
    headwater: Headwater, client: httpx.AsyncClient, dialect: Dialect
) -> None:
    """Head and tail are the stored text; past the end there is nothing, and nobody reads what is another's."""
    begun = await dialect.ask(client, named("sim-ok?tokens=8", dialect, "resumed"), "stream")
    url, params = stream_of(begun), {"dialect": dialect.stored}
    blocks = [f"{block}\n\n" for block in begun.text.removesuffix("\n\n").split("\n\n") if not block.startswith(":")]
    places = [(n, found[1]) for n, block in enumerate(blocks, 1) if (found := re.search(r"^id: (\d+)$", block, re.M))]
    assert all(int(one) < int(other) for (_, one), (_, other) in pairwise(places))
    for n, place in places:
        rest = await client.get(url, params=params, headers={"last-event-id": place})
        assert rest.text == "".join(blocks[n:])
        assert rest.status_code == (200 if n < len(blocks) else 204)
    assert places[-1][0] == len(blocks)
    stored = (await client.get(url.removesuffix("/stream"))).json()["text"]
    assert dialect.told(begun).text == stored

    async with headwater.client(headwater.service.admin_key) as admin:
        stranger = await make_key(admin, tenant="another")
    async with headwater.client(stranger) as other:
        assert (await other.get(url, params=params)).status_code == 404


async def test_resuming_anothers_chat(headwater: Headwater, client: httpx.AsyncClient) -> None:
    """A page's token is for its own chat: any other is 404 to it."""
    own = (await client.post("/v1/conversations", json={"external_id": "own"})).json()["id"]
    token = (await client.post("/v1/tokens", json={"conversation_id": own})).json()["token"]
    await client.post("/v1/conversations", json={"external_id": "foreign"})
    async with headwater.client(token) as page:
        assert (await page.get("/api/chat/own/stream")).status_code == 204
        assert (await page.get("/api/chat/foreign/stream")).status_code == 404


@every_dialect
async def test_stopping_ends_it_for_all_readers_and_keeps_what_there_is(
    headwater: Headwater, client: httpx.AsyncClient, dialect: Dialect
) -> None:
    model = named(LONG, dialect, "stopped")
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(dialect.ask(client, model, "stream"))
        query = (
            "SELECT c.id::text FROM completions c JOIN completion_events e ON e.completion_id = c.id WHERE c.model = %s"
        )
        await until(lambda: headwater.rows(query, model))
        id = headwater.rows(query, model)[0][0]
        url, params = f"/v1/completions/{id}/stream", {"dialect": dialect.stored}
        others = [group.create_task(client.get(url, params=params)) for _ in range(2)]
        await asyncio.sleep(0.3)
        stop = {RESPONSES: f"/v1/responses/resp_{id}/cancel", UI: f"/api/chat/chat of {model}/stop"}
        stopping = await client.post(stop.get(dialect, f"/v1/completions/{id}/cancel").replace("?", "%3F"))
        assert stopping.is_success
    told = [dialect.told(reader.result()) for reader in (asked, *others)]
    assert [each.end for each in told] == [CANCELLED[dialect]] * 3

    completion = (await client.get(f"/v1/completions/{id}")).json()
    assert completion["status"] == "cancelled"
    assert {each.text for each in told} == {completion["text"]} - {""}
    assert completion["usage"]["output_tokens"] > 0
    last = re.findall(r"^id: (\d+)$", asked.result().text, re.M)[-1]
    assert (await client.get(url, params=params, headers={"last-event-id": last})).status_code == 204
    if dialect is UI:
        assert (await client.get(f"/api/chat/chat of {model}/stream".replace("?", "%3F"))).status_code == 204
