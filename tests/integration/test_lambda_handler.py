"""The handler that Lambda's own runtime calls: answers in one piece, over freezes, snapshots and copies of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from local.upstream import SimulatedUpstream
from tests.conftest import LOGS
from tests.support.aws import REGION, running_aws, secret_arn
from tests.support.lambda_function import Answer, Function, answer_of, http_event, running_function
from tests.support.on_lambda import FUNCTION, SNAPSTART
from tests.support.openapi import document
from tests.support.postgres import Postgres
from tests.support.service import ADMIN_KEY

DOOR: Final = "https://stream.example.com"
MODEL: Final = "sim-ok?tokens=3&first_ms=0"
MESSAGES: Final = [{"role": "user", "content": "Hello."}]


class StartFunction:
    def __init__(self, folder: Path, database_url: str, upstream: SimulatedUpstream) -> None:
        self._folder = folder
        self._database_url = database_url
        self._upstream = upstream

    @asynccontextmanager
    async def __call__(self, **variables: str) -> AsyncIterator[tuple[Function, str]]:
        """The function, and a key for it."""
        chosen = {
            **FUNCTION,
            "AWS_REGION": REGION,
            "HEADWATER_HOME": "lambda",
            "HEADWATER_STREAMING_URL": DOOR,
            "DATABASE_URL": self._database_url,
            "ANTHROPIC_BASE_URL": self._upstream.url,
            "ANTHROPIC_API_KEY": "the-upstreams-own-key",
            **({} if "HEADWATER_SECRETS_ARN" in variables else {"HEADWATER_ADMIN_KEY": ADMIN_KEY}),
            **variables,
        }
        with running_function(self._folder / "function.log", **chosen) as function:
            body = {"name": "test", "scopes": ["completions", "conversations"]}
            made = await function.request("POST", "/v1/keys", ADMIN_KEY, body)
            assert made.status == 201, made
            yield function, made.body["secret"]


@pytest.fixture
def start_function(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, upstream: SimulatedUpstream
) -> StartFunction:
    request.node.stash[LOGS] = tmp_path
    return StartFunction(tmp_path, database_url, upstream)


async def test_answers_in_one_piece_in_every_dialect(start_function: StartFunction) -> None:
    async with start_function() as (function, key):

        async def text(path: str, **body: Any) -> str:
            answer = await function.request("POST", path, key, {"model": MODEL, "max_tokens": 50, **body})
            assert answer.status == 200, answer
            return str(answer.body)

        assert "end_turn" in await text("/v1/completions", input="Hello.", stream=False)
        assert "end_turn" in await text("/v1/messages", messages=MESSAGES)
        assert "chat.completion" in await text("/v1/chat/completions", messages=MESSAGES)
        made = await function.request("POST", "/v1/responses", key, {"model": MODEL, "input": "Hello."})
        assert made.body["status"] == "completed"
        listed = await function.request("GET", "/v1/completions", key)
        assert [row["status"] for row in listed.body["data"]] == ["completed"] * 4


STREAMS: Final = {
    "native": ("POST", "/v1/completions", {"model": MODEL, "input": "x", "max_tokens": 5}),
    "native, said": ("POST", "/v1/completions", {"model": MODEL, "input": "x", "stream": True}),
    "messages": ("POST", "/v1/messages", {"model": MODEL, "messages": MESSAGES, "max_tokens": 5, "stream": True}),
    "chat": ("POST", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "stream": True}),
    "responses": ("POST", "/v1/responses", {"model": MODEL, "input": "x", "stream": True}),
    "useChat": ("POST", "/api/chat", {"id": "a", "messages": [{"id": "1", "role": "user", "parts": []}]}),
    "useChat, again": ("GET", "/api/chat/a/stream", None),
    "reading on": ("GET", "/v1/completions/01a21ab7-c7b4-7db2-a12b-af91101b24a1/stream", None),
    "watching a batch": ("GET", "/v1/batches/01a21ab7-c7b4-7db2-a12b-af91101b24a1/stream", None),
    "reading a response on": ("GET", "/v1/responses/resp_1?stream=true", None),
}


def message_of(answer: Answer, path: str) -> str:
    """The error's words, from where its caller's client finds them."""
    if path.startswith("/api/chat"):
        return str(answer.body)
    return str(answer.body["detail"] if "detail" in answer.body else answer.body["error"]["message"])


async def test_a_stream_is_refused_in_the_callers_dialect(
    start_function: StartFunction, upstream: SimulatedUpstream
) -> None:
    async with start_function() as (function, key):
        for name, (method, path, body) in STREAMS.items():
            answer = await function.request(method, path, key, body)
            assert answer.status == 400, (name, answer)
            assert DOOR in message_of(answer, path), (name, answer)
            assert answer.headers["x-request-id"], name
        assert (await function.request("GET", "/v1/completions", key)).body["data"] == []
    assert upstream.requests == []


def test_every_operation_that_may_stream_is_among_them() -> None:
    streaming = {
        (method.upper(), path)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())
    }
    tried = {(method, path.partition("?")[0]) for method, path, _ in STREAMS.values()}
    assert len(streaming) == len(tried), streaming


async def test_what_a_front_door_sends_is_never_taken_for_an_event(start_function: StartFunction) -> None:
    async with start_function() as (function, key):
        event: Any = http_event("POST", "/events", key, {"headwater": "maintenance"}) | {"headwater": "maintenance"}
        assert answer_of(await function.invoke(event)).status == 404
        assert await function.invoke({"headwater": "maintenance"}) == {"status": "done"}
        assert await function.invoke({"headwater": "migrate"}) == {"status": "done"}
        with pytest.raises(RuntimeError, match="UnknownEvent"):
            await function.invoke({"headwater": "nonsense"})


async def test_headers_of_a_caller_set_no_deadline(start_function: StartFunction) -> None:
    async with start_function() as (function, key):
        body = {"model": MODEL, "input": "x", "max_tokens": 5, "stream": False}
        forged = {"x-amzn-lambda-context": '{"deadline": 0}', "x-amzn-request-context": "null"}
        assert (await function.request("POST", "/v1/completions", key, body, **forged)).status == 200


async def test_an_answer_is_given_up_before_the_invocation_ends(start_function: StartFunction) -> None:
    async with start_function() as (function, key):
        body = {"model": "sim-ok?tokens=2000&rate=20", "input": "x", "max_tokens": 4000, "stream": False}
        answer = answer_of(await function.invoke(http_event("POST", "/v1/completions", key, body), seconds=11))
        assert (answer.status, answer.body["type"]) == (504, "/problems/deadline")


async def test_connections_that_died_between_invocations_cost_no_error(
    start_function: StartFunction, database_url: str
) -> None:
    async with start_function() as (function, key):
        for _ in range(3):
            assert (await function.request("GET", "/v1/completions", key)).status == 200
            cut_connections(database_url)
            await asyncio.sleep(1.1)  # what was used a moment ago is not asked whether it lives


def cut_connections(database_url: str) -> None:
    with Postgres.connect(database_url) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_only_a_completion_loads_what_is_dear(start_function: StartFunction) -> None:
    async with start_function() as (function, key):
        conversation = await function.request("POST", "/v1/conversations", key, {"title": "A"})
        assert conversation.status == 201
        assert (await function.request("GET", f"/v1/conversations/{conversation.body['id']}", key)).status == 200
        loaded = set(await function.do("modules"))
        dear = {"anthropic", "boto3", "botocore.session", "aws_xray_sdk", "sqlalchemy", "genai_prices", "aiohttp"}
        assert not loaded & dear


async def test_copies_of_one_snapshot_have_nothing_in_common(start_function: StartFunction, database_url: str) -> None:
    with running_aws() as aws:
        async with start_function(**SNAPSTART, **aws.environment) as (function, key):
            await function.do("before snapshot")
            cut_connections(database_url)
            complete = http_event(
                "POST", "/v1/completions", key, {"model": MODEL, "input": "x", "max_tokens": 5, "stream": False}
            )
            orders = [
                {"do": "after restore"},
                {"do": "invoke", "event": complete},
            ]
            copies = await function.do("copies", orders=orders, count=2)
    drawn = [copy[0]["random"] for copy in copies]
    answers = [answer_of(copy[1]) for copy in copies]
    assert [answer.status for answer in answers] == [200, 200]
    assert len(set(drawn)) == 2
    assert len({answer.body["id"] for answer in answers}) == 2
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2
    with Postgres.connect(database_url) as conn:
        owners = conn.execute("SELECT DISTINCT instance_id FROM completions").fetchall()
        alive = conn.execute("SELECT count(*) FROM instances WHERE dead_at IS NULL").fetchone()
    assert len(owners) == 2
    assert alive == (2,)


async def test_after_a_restore_secrets_and_tokens_are_those_of_now(start_function: StartFunction) -> None:
    with running_aws() as aws:
        arn = secret_arn("settings")
        aws.secrets[arn] = {"HEADWATER_ADMIN_KEY": ADMIN_KEY}
        async with start_function(**SNAPSTART, **aws.environment, HEADWATER_SECRETS_ARN=arn) as (function, _):
            await function.do("before snapshot")
            aws.secrets[arn] = {"HEADWATER_ADMIN_KEY": "hw_changed_meanwhile"}
            calls = aws.calls["credentials"]
            await function.do("after restore")
            assert aws.calls["credentials"] > calls  # those of before the snapshot are not used again
            assert (await function.request("GET", "/v1/keys", "hw_changed_meanwhile")).status == 200
            assert (await function.request("GET", "/v1/keys", ADMIN_KEY)).status == 401
