"""OpenAI's Responses API over two instances of the service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.postgres import Postgres
from tests.support.responses import (
    PATH,
    Pair,
    created,
    ended,
    error_of,
    read_on,
    retrieved,
    running_pair,
    streamed,
    text_of,
)
from tests.support.sse import sent_events

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOK: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("responses")
    async with running_pair(postgres, folder, max_retries=0, control_tick=0.3, max_body=200_000) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def one(pair: Pair) -> AsyncIterator[httpx.AsyncClient]:
    async with pair.one.client() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def other(pair: Pair) -> AsyncIterator[httpx.AsyncClient]:
    async with pair.other.client() as client:
        yield client


# -- creating and reading


async def test_stream_and_store_tell_the_same(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    events = await streamed(one, model=pair.model("tokens=20"), instructions="Be kind.", metadata={"a": "b"})
    assert [event.event for event in events[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert [event.event for event in events].count("response.output_text.delta") == 20
    assert [event.data["sequence_number"] for event in events] == list(range(len(events)))
    final = events[-1].data["response"]
    assert (events[-1].event, final["status"]) == ("response.completed", "completed")
    assert text_of(final) == "".join(e.data["delta"] for e in events if e.event == "response.output_text.delta")
    assert final["usage"]["output_tokens"] == 20
    assert (final["instructions"], final["metadata"]) == ("Be kind.", {"a": "b"})
    assert await retrieved(other, final["id"]) == final


async def test_what_to_do_when_nobody_reads_is_a_header(pair: Pair, one: httpx.AsyncClient) -> None:
    body = {"model": pair.model("tokens=3"), "input": "Hello."}
    answer = await one.post(PATH, json=body, headers={"x-on-disconnect": "cancel"})
    completion = await one.get(f"/v1/completions/{answer.headers['x-completion-id']}")
    assert completion.json()["on_disconnect"] == "cancel"


async def test_answer_in_one_piece(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    response = await one.post(PATH, json={"model": pair.model(), "input": "Hello", "seed": 1, "max_output_tokens": 2})
    answer = response.json()
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response.headers["x-ignored-params"] == "seed"
    assert answer["id"] == "resp_" + response.headers["x-completion-id"].replace("-", "")
    assert await retrieved(other, answer["id"]) == answer


async def test_every_cut_of_a_finished_stream(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    events = await streamed(one, model=pair.model())
    id = events[0].data["response"]["id"]
    assert await read_on(other, id) == events
    for number in range(len(events)):
        assert await read_on(other, id, starting_after=number) == events[number + 1 :]


async def test_position_of_an_event_source(pair: Pair, one: httpx.AsyncClient) -> None:
    events = await streamed(one, model=pair.model())
    url = f"{PATH}/{events[0].data['response']['id']}?stream=true"
    last = events[-1].id
    assert last is not None
    assert (await one.get(url, headers={"last-event-id": last})).status_code == 204
    for index, event in enumerate(events[:-1]):
        if event.id is not None:
            rest = await one.get(url, headers={"last-event-id": event.id})
            assert sent_events(rest.content) == events[index + 1 :]
    assert (await one.get(url, headers={"last-event-id": "x"})).status_code == 400


async def test_a_completion_of_another_dialect_is_a_response(pair: Pair, one: httpx.AsyncClient) -> None:
    body = {"model": "claude-sim", "max_tokens": 50, "system": "S", "messages": [{"role": "user", "content": "Hi"}]}
    message = await one.post("/v1/messages", json=body)
    response = await retrieved(one, message.headers["x-completion-id"])
    assert text_of(response) == message.json()["content"][0]["text"]
    assert response["instructions"] == "S"
    events = await read_on(one, response["id"])
    assert events[-1].data["response"] == response
    follow = await created(one, model="claude-sim", input="And?", previous_response_id=response["id"])
    assert "turn 2" in text_of(follow)


# -- in the background


async def test_background_is_polled_and_read_on_elsewhere(
    pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    queued = await created(one, model=pair.model("tokens=30&rate=30"), background=True)
    assert (queued["status"], queued["background"], queued["output"]) == ("queued", True, [])
    assert (await retrieved(other, queued["id"]))["status"] == "in_progress"
    events = await read_on(other, queued["id"], starting_after=1)
    assert [event.data["sequence_number"] for event in events] == list(range(2, 2 + len(events)))
    final = await ended(other, queued["id"])
    assert (final["status"], final["background"]) == ("completed", True)
    assert events[-1].data["response"] == final


async def test_background_answers_before_the_first_event(pair: Pair, one: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    queued = await created(one, model=pair.model("tokens=3&first_ms=1500").replace("&first_ms=0", ""), background=True)
    assert loop.time() - started < 1
    assert (await ended(one, queued["id"]))["status"] == "completed"


async def test_a_background_stream_goes_on_without_its_reader(
    pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    body = {"model": pair.model("tokens=20&rate=20"), "input": "Hi", "background": True, "stream": True}
    async with one.stream("POST", PATH, json=body) as response:
        opening = await anext(response.aiter_lines())
        assert opening == "event: response.created"  # at once: whoever leaves early knows the id
        id = "resp_" + response.headers["x-completion-id"].replace("-", "")
    events = await read_on(other, id, starting_after=5)
    assert events[0].data["sequence_number"] == 6
    assert events[-1].event == "response.completed"


async def test_background_failure_is_a_state(pair: Pair, one: httpx.AsyncClient) -> None:
    queued = await created(one, model=pair.model(fault="429"), background=True)
    failed = await ended(one, queued["id"])
    assert (failed["status"], failed["error"]["code"], failed["usage"]) == ("failed", "rate_limit_exceeded", None)
    events = await read_on(one, queued["id"])
    assert [event.event for event in events] == ["response.created", "response.in_progress", "response.failed"]
    assert events[-1].data["response"] == failed


# -- chains and conversations


async def test_chains_and_forks(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    first = await created(one, model="claude-sim", input="One", instructions="Only here.")
    developer = {"role": "developer", "content": "For all."}
    second = await created(
        other,
        model="claude-sim",
        input=[developer, {"role": "user", "content": "Two"}],
        previous_response_id=first["id"],
    )
    assert second["previous_response_id"] == first["id"]
    model = pair.model()
    third = await created(one, model=model, input="Three", previous_response_id=second["id"], instructions="Now.")
    asked = pair.asked(model)
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert asked["messages"][0]["content"] == "One"
    assert asked["messages"][1]["content"] == [{"type": "text", "text": text_of(first)}]
    assert asked["messages"][3]["content"] == [{"type": "text", "text": text_of(second)}]
    assert asked["system"] == "Now.\nFor all."
    assert third["instructions"] == "Now."

    model = pair.model()
    await asyncio.gather(
        created(one, model=model, input="Fork", previous_response_id=first["id"]),
        created(other, model=pair.model(), input="Another", previous_response_id=first["id"]),
    )
    assert [message["content"] for message in pair.asked(model)["messages"]][::2] == ["One", "Fork"]
    assert "system" not in pair.asked(model)


async def test_what_a_chain_keeps_of_an_unfinished_answer(
    pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    document = {"type": "input_file", "file_data": "data:text/plain;base64,QSBmYWN0Lg=="}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}, document]}]
    broken = await created(one, model=pair.model("after=5", "error-mid"), input=items, background=True)
    failed = await ended(other, broken["id"])
    assert (failed["status"], failed["output"][-1]["status"]) == ("failed", "incomplete")
    model = pair.model()
    await created(other, model=model, input="Go on", previous_response_id=broken["id"])
    assert [message["role"] for message in pair.asked(model)["messages"]] == ["user", "user"]  # no half text


async def test_what_cannot_be_gone_on_from(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    async def refused(previous: str, client: httpx.AsyncClient = one) -> tuple[int, str | None, str | None]:
        body = {"model": "claude-sim", "input": "x", "previous_response_id": previous}
        return error_of(await client.post(PATH, json=body))

    param = "previous_response_id"
    assert await refused("resp_1") == (404, "previous_response_not_found", param)
    assert await refused("resp_" + "0" * 32) == (404, "previous_response_not_found", param)

    first = await created(one, model="claude-sim")
    async with pair.one.client(await pair.foreign_key()) as foreign:
        assert await refused(first["id"], foreign) == (404, "previous_response_not_found", param)

    unstored = await created(one, model="claude-sim", store=False)
    assert await refused(unstored["id"]) == (400, "previous_response_not_stored", param)

    running = await created(one, model=pair.model("tokens=100&rate=20"), background=True)
    assert await refused(running["id"], other) == (409, "previous_response_running", param)
    await other.post(f"{PATH}/{running['id']}/cancel")

    second = await created(one, model="claude-sim", previous_response_id=first["id"])
    assert (await one.delete(f"{PATH}/{first['id']}")).status_code == 200
    assert await refused(second["id"]) == (404, "previous_response_not_found", param)

    conversation = (await one.post("/v1/conversations", json={})).json()["id"]
    inside = await created(one, model="claude-sim", conversation=conversation)
    assert await refused(inside["id"]) == (400, "previous_response_in_conversation", param)


async def test_conversation(pair: Pair, one: httpx.AsyncClient) -> None:
    conversation = (await one.post("/v1/conversations", json={"system": "Of the conversation."})).json()["id"]
    first = await created(one, model="claude-sim", conversation={"id": conversation})
    assert first["conversation"] == {"id": conversation}
    model = pair.model()
    items = [{"role": "developer", "content": "For this turn."}, {"role": "user", "content": "And now?"}]
    await created(one, model=model, conversation=conversation, input=items)
    asked = pair.asked(model)
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["system"] == "Of the conversation.\nFor this turn."
    kept = (await one.get(f"/v1/conversations/{conversation}/messages")).json()["data"]
    assert [message["role"] for message in kept] == ["user", "assistant", "user", "assistant"]
    unknown = {"model": "claude-sim", "input": "x", "conversation": "0" * 32}
    assert (await one.post(PATH, json=unknown)).status_code == 404


# -- tools and thoughts


async def call_tools(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    question = "Use get weather for both Paris and Berlin."
    return await created(client, tools=[LOOK], input=question, **body)


def results(response: dict[str, Any]) -> list[dict[str, Any]]:
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    assert len(calls) == 2
    return [{"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"} for call in calls]


async def test_tools_through_a_chain(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    asked = await call_tools(one, model="claude-sim-thinking")
    assert asked["output"][0]["type"] == "reasoning"
    answer = await created(
        other, model="claude-sim-thinking", tools=[LOOK], input=results(asked), previous_response_id=asked["id"]
    )
    assert text_of(answer).startswith('I asked, and the tool answered "sunny"')


async def test_tools_without_a_store(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    """A client that keeps everything itself sends back what it got: thoughts are judged by their signature."""
    asked = await call_tools(one, model="claude-sim-thinking", store=False)
    question = {"role": "user", "content": "Use get weather for both Paris and Berlin."}
    items = [question, *asked["output"], *results(asked)]
    answer = await created(other, model="claude-sim-thinking", tools=[LOOK], input=items, store=False)
    assert text_of(answer).startswith('I asked, and the tool answered "sunny"')

    thought = next(item for item in items if item.get("type") == "reasoning")
    thought["summary"][0]["text"] += "!"
    body = {"model": "claude-sim-thinking", "tools": [LOOK], "input": items}
    status, _, _ = error_of(await other.post(PATH, json=body))
    assert status == 400


async def test_redacted_thoughts_go_back_and_forth(pair: Pair, one: httpx.AsyncClient) -> None:
    model = pair.model("redacted=true")
    first = await created(one, model=model, store=False)
    items = [{"role": "user", "content": "Hello"}, *first["output"], {"role": "user", "content": "And?"}]
    await created(one, model=model, input=items)
    assert pair.asked(model)["messages"][1]["content"][0]["type"] == "redacted_thinking"


async def test_references_stand_for_items(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    asked = await call_tools(one, model="claude-sim-thinking")
    references = [{"type": "item_reference", "id": item["id"]} for item in asked["output"]]
    items = [{"role": "user", "content": "Use get weather for both."}, *references, *results(asked)]
    answer = await created(other, model="claude-sim-thinking", tools=[LOOK], input=items)
    assert text_of(answer).startswith('I asked, and the tool answered "sunny"')
    for id in ("msg_1", f"msg_{'0' * 32}_0", asked["output"][0]["id"] + "9"):
        body = {"model": "claude-sim", "input": [{"type": "item_reference", "id": id}]}
        assert error_of(await one.post(PATH, json=body)) == (400, "item_not_found", "input[0].id")
        async with pair.one.client(await pair.foreign_key()) as foreign:
            assert (await foreign.post(PATH, json=body | {"input": references[:1]})).status_code == 400
    twice = await one.post(PATH, json={"model": "claude-sim", "input": references[:1] * 2})
    assert (twice.status_code, twice.json()["error"]["code"]) == (400, "too_many_references")


async def test_structured_output(pair: Pair, one: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    form = {"format": {"type": "json_schema", "name": "who", "schema": schema}}
    response = await created(one, model="claude-sim", text=form, reasoning={"effort": "minimal"})
    assert text_of(response).startswith('{"name":')
    assert response["text"]["format"]["schema"] == schema
    assert response["reasoning"]["effort"] == "low"


# -- the end


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_cancel_is_idempotent(
    pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient, elsewhere: bool
) -> None:
    client = other if elsewhere else one
    running = await created(one, model=pair.model("tokens=500&rate=50"), background=True)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read_on(other, running["id"]))
        await asyncio.sleep(0.3)
        response = await client.post(f"{PATH}/{running['id']}/cancel")
        assert response.status_code == 200
        final = await ended(client, running["id"], within=3)
    assert final["status"] == "cancelled"
    assert (await client.post(f"{PATH}/{running['id']}/cancel")).json() == final
    events = reading.result()
    assert events[-1].event == "response.failed"  # no event of theirs says "cancelled"; the object does
    assert events[-1].data["response"] == final


async def test_delete(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    running = await created(one, model=pair.model("tokens=100&rate=20"), background=True)
    assert error_of(await other.delete(f"{PATH}/{running['id']}")) == (409, "completion_running", None)
    await one.post(f"{PATH}/{running['id']}/cancel")
    deleted = await other.delete(f"{PATH}/{running['id']}")
    assert deleted.json() == {"id": running["id"], "object": "response", "deleted": True}
    for method, suffix in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]:
        assert error_of(await one.request(method, f"{PATH}/{running['id']}{suffix}")) == (404, "not_found", "id")


async def test_input_items_in_pages(pair: Pair, one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    items = [{"role": "user", "content": [{"type": "input_text", "text": str(n)}]} for n in range(5)]
    id = (await created(one, model="claude-sim", input=items))["id"]

    async def page(**params: Any) -> tuple[list[str], bool]:
        response = await other.get(f"{PATH}/{id}/input_items", params=params)
        assert response.status_code == 200, response.text
        body = response.json()
        assert (body["first_id"], body["last_id"]) == (body["data"][0]["id"], body["data"][-1]["id"])
        return [item["content"][0]["text"] for item in body["data"]], body["has_more"]

    assert await page() == (["4", "3", "2", "1", "0"], False)
    assert await page(order="asc", limit=2) == (["0", "1"], True)
    first = (await other.get(f"{PATH}/{id}/input_items", params={"order": "asc", "limit": 2})).json()
    assert await page(order="asc", limit=3, after=first["last_id"]) == (["2", "3", "4"], False)
    for params in ({"after": "x"}, {"limit": "0"}, {"order": "x"}):
        status, _, param = error_of(await other.get(f"{PATH}/{id}/input_items", params=params))
        assert (status, param) == (400, next(iter(params)))


async def test_what_was_not_to_be_stored_is_gone(pair: Pair, one: httpx.AsyncClient) -> None:
    events = await streamed(one, model="claude-sim", store=False)
    id = events[0].data["response"]["id"]
    assert events[-1].data["response"]["store"] is False
    for suffix in ("", "?stream=true", "/input_items"):
        assert error_of(await one.get(f"{PATH}/{id}{suffix}")) == (404, "response_not_stored", "id")


async def test_what_belongs_to_others_does_not_exist(pair: Pair, one: httpx.AsyncClient) -> None:
    id = (await created(one, model="claude-sim"))["id"]
    async with pair.one.client(await pair.foreign_key()) as foreign:
        for method, suffix in [
            ("GET", ""),
            ("GET", "?stream=true"),
            ("GET", "/input_items"),
            ("POST", "/cancel"),
            ("DELETE", ""),
        ]:
            response = await foreign.request(method, f"{PATH}/{id}{suffix}")
            assert error_of(response) == (404, "not_found", "id")
    assert (await retrieved(one, id))["status"] == "completed"


# -- errors


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("429", 429, "rate_limit_exceeded"),
        ("529", 503, "overloaded"),
        ("401", 502, "upstream_credentials"),
        ("400", 400, None),
        ("500", 502, "upstream_error"),
        ("error-first", 503, "overloaded"),
        ("reset", 502, "upstream_connection"),
        ("html", 502, None),
    ],
)
async def test_faults_before_the_first_event_are_a_status(
    pair: Pair, one: httpx.AsyncClient, fault: str, status: int, code: str | None
) -> None:
    for stream in (False, True):
        response = await one.post(PATH, json={"model": pair.model(fault=fault), "input": "x", "stream": stream})
        told = error_of(response)
        assert told[0] == status
        assert code is None or told[1] == code


@pytest.mark.parametrize("fault", ["error-mid", "end-mid", "cut-mid-event", "malformed", "bad-utf8"])
async def test_faults_inside_the_stream_are_never_a_good_end(pair: Pair, one: httpx.AsyncClient, fault: str) -> None:
    events = await streamed(one, model=pair.model("after=8", fault))
    final = events[-1].data["response"]
    assert (events[-1].event, final["status"]) == ("response.failed", "failed")
    assert final["output"][-1]["status"] == "incomplete"
    assert final["error"]["message"]
    assert await retrieved(one, final["id"]) == final
    assert await read_on(one, final["id"], starting_after=3) == events[4:]
    response = await one.post(PATH, json={"model": pair.model("after=8", fault), "input": "x"})
    assert error_of(response)[0] >= 500


@pytest.mark.parametrize("directives", ["unknown_event=true", "unknown_block=true", "stop_reason=refusal"])
async def test_what_the_dialect_has_no_word_for_breaks_nothing(
    pair: Pair, one: httpx.AsyncClient, directives: str
) -> None:
    events = await streamed(one, model=pair.model(directives))
    final = events[-1].data["response"]
    assert final["status"] == ("incomplete" if "refusal" in directives else "completed")
    assert (await retrieved(one, final["id"]))["status"] == final["status"]


async def something_recorded(pair: Pair) -> None:
    with Postgres.connect(pair.database_url) as conn:
        for _ in range(100):
            if conn.execute("SELECT FROM completion_events WHERE last_seq > 5").fetchall():
                return
            await asyncio.sleep(0.1)
    raise AssertionError("nothing was recorded")


async def test_a_lost_instance_ends_its_responses(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lost")
    async with (
        running_pair(postgres, folder, max_retries=0, lease=2, control_tick=0.3) as pair,
        pair.one.client() as one,
        pair.other.client() as other,
    ):
        running = await created(one, model=pair.model("tokens=500&rate=20"), background=True)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read_on(other, running["id"], starting_after=10_000))
            await something_recorded(pair)
            pair.one.kill()
        (last,) = reading.result()  # it had more than was stored, and still hears of the end
        assert (last.event, last.data["sequence_number"]) == ("response.failed", 10_001)
        final = await ended(other, running["id"])
        assert (final["status"], final["error"]["type"]) == ("failed", "interrupted")
        assert final["output"][-1]["status"] == "incomplete"
        follow = await created(other, model="claude-sim", input="And?", previous_response_id=running["id"])
        assert follow["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", "/v1/responses", "", 405),
        ("PUT", "/v1/responses/x", "", 405),
        ("GET", "/v1/responses/x/y/z", "", 404),
        ("GET", "/v1/responses/x", "", 404),
        ("POST", "/v1/responses/x/cancel", "", 404),
        ("GET", "/v1/responses/x?stream=perhaps", "", 400),
        ("GET", "/v1/responses/x?stream=true&starting_after=-1", "", 400),
        ("GET", f"/v1/responses/{'0' * 32}?starting_after={'9' * 30}", "", 404),
        ("POST", "/v1/responses", "", 400),
        ("POST", "/v1/responses", "[]", 400),
        ("POST", "/v1/responses", "{", 400),
        ("POST", "/v1/responses", '{"model":"m","input":"\\ud800"}', 400),
        ("POST", "/v1/responses", '{"model":"m","input":"x","metadata":{"a":"\\u0000"}}', 400),
        ("POST", "/v1/responses", '{"model":"m","input":[{"role":"user"}]}', 400),
        ("POST", "/v1/responses", '{"model":"m","input":' + "[" * 200 + "]" * 200 + "}", 400),
        ("POST", "/v1/responses", '{"model":"m","input":"' + "x" * 250_000 + '"}', 413),
    ],
)
async def test_bad_input_is_told_in_their_shape(
    one: httpx.AsyncClient, method: str, path: str, kind: str, status: int
) -> None:
    response = await one.request(method, path, content=kind, headers={"content-type": "application/json"})
    assert error_of(response)[0] == status


async def test_without_a_key(pair: Pair) -> None:
    async with httpx.AsyncClient(base_url=pair.one.url) as nobody:
        assert error_of(await nobody.post(PATH, json={})) == (401, "invalid_api_key", None)


async def test_a_home_without_background_says_so(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lambda")
    async with running_pair(postgres, folder, home="lambda") as pair, pair.one.client() as client:
        body = {"model": "claude-sim", "input": "x", "background": True}
        assert error_of(await client.post(PATH, json=body)) == (400, None, "background")
        assert (await client.post(PATH, json=body | {"background": False})).status_code == 200
