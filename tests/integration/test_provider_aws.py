"""Bedrock and Claude on AWS, as far as one machine goes: to a signed request, and back through their framing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from aiohttp import web

from tests.support import event_stream
from tests.support.api import Api, StartApi
from tests.support.headwater import frames, text_of

MODEL: Final = "anthropic.claude-sim-v1:0"
BODY: Final[dict[str, Any]] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hello."}],
    "max_tokens": 50,
    "system": "Be brief.",
}
EVENTS: Final = [
    b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],'
    b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße 🙂"}}'.encode(),
    b'{"type":"content_block_stop","index":0}',
    b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}',
    b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}',
]


@dataclass
class Cloud:
    """A server that answers whatever is asked, and keeps it."""

    url: str = ""
    content_type: str = "application/vnd.amazon.eventstream"
    answer: list[bytes] = field(default_factory=lambda: [event_stream.chunk(event) for event in EVENTS])
    status: int = 200
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.raw_path, headers, await request.json()))
        response = web.StreamResponse(status=self.status, headers={"content-type": self.content_type})
        await response.prepare(request)
        for piece in self.answer:
            await response.write(piece)
        await response.write_eof()
        return response


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    running = Cloud()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", running.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield running
    await runner.cleanup()


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_AWS_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-of-the-account")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token-of-the-session")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("ANTHROPIC_AWS_WORKSPACE_ID", "wrkspc_1")


@pytest.fixture
async def bedrock(start_api: StartApi, cloud: Cloud) -> Api:
    return await start_api(upstream="bedrock", upstream_base_url=cloud.url, upstream_api_key=None, max_retries=0)


@pytest.mark.parametrize(
    ("version", "sent"),
    [("2023-06-01", "bedrock-2023-05-31"), (None, "bedrock-2023-05-31"), ("2026-10-21", "2026-10-21")],
)
async def test_bedrock(bedrock: Api, cloud: Cloud, version: str | None, sent: str) -> None:
    client = await bedrock.client_with()
    headers = {"anthropic-version": version} if version else {}
    response = await client.post("/v1/messages", json=BODY | {"stream": True}, headers=headers)

    events = frames(response.text)
    assert [event.event for event in events][-1] == "message_stop"
    assert text_of(events) == "Grüße 🙂"
    ((path, told, body),) = cloud.requests
    assert path == "/model/anthropic.claude-sim-v1:0/invoke-with-response-stream"
    assert told["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/bedrock/aws4_request" in told["authorization"]
    assert told["x-amz-security-token"] == "the-token-of-the-session"
    assert told["x-amz-date"]
    assert "the-secret-of-the-account" not in str(cloud.requests)
    expected = {name: value for name, value in BODY.items() if name != "model"}
    assert {name: body[name] for name in expected} == expected
    assert body["anthropic_version"] == sent
    assert "model" not in body
    assert "stream" not in body


async def test_bedrock_betas_travel_in_the_body(bedrock: Api, cloud: Cloud) -> None:
    client = await bedrock.client_with()
    await client.post("/v1/messages", json=BODY, headers={"anthropic-beta": "one-2026-01-01"})
    ((_, told, body),) = cloud.requests
    assert "one-2026-01-01" in str(body.get("anthropic_beta")) or told.get("anthropic-beta") == "one-2026-01-01"


async def test_bedrock_in_one_piece(bedrock: Api, cloud: Cloud) -> None:
    client = await bedrock.client_with()
    message = (await client.post("/v1/messages", json=BODY)).json()
    assert message["content"] == [{"type": "text", "text": "Grüße 🙂"}]
    assert message["usage"] == {"input_tokens": 3, "output_tokens": 5}
    completion = await client.post("/v1/completions", json={"model": MODEL, "input": "Hello.", "max_tokens": 5})
    assert text_of(frames(completion.text)) == "Grüße 🙂"


@pytest.mark.parametrize(
    ("kind", "status", "type"),
    [
        ("throttlingException", 429, "rate_limit_error"),
        ("serviceUnavailableException", 529, "overloaded_error"),
        ("modelTimeoutException", 504, "timeout_error"),
        ("internalServerException", 502, "api_error"),
    ],
)
async def test_bedrock_exceptions(bedrock: Api, cloud: Cloud, kind: str, status: int, type: str) -> None:
    client = await bedrock.client_with()
    cloud.answer = [event_stream.exception(kind)]
    refused = await client.post("/v1/messages", json=BODY)
    assert (refused.status_code, refused.json()["error"]["type"]) == (status, type)

    cloud.answer = [*[event_stream.chunk(event) for event in EVENTS[:3]], event_stream.exception(kind)]
    broken = await client.post("/v1/messages", json=BODY | {"stream": True})
    last = frames(broken.text)[-1]
    assert (last.event, last.data["error"]["type"]) == ("error", type)
    assert "123456789012" not in refused.text + broken.text


async def test_bedrock_damaged(bedrock: Api, cloud: Cloud) -> None:
    client = await bedrock.client_with()
    cloud.answer[2] = cloud.answer[2][:-1] + b"\x00"
    broken = await client.post("/v1/messages", json=BODY)
    assert (broken.status_code, broken.json()["error"]["details"]["error_code"]) == (502, "upstream_malformed")


@pytest.mark.parametrize("status", [401, 403])
async def test_bedrock_credentials(bedrock: Api, cloud: Cloud, status: int) -> None:
    cloud.status, cloud.content_type, cloud.answer = status, "application/json", [b'{"message":"AKIDEXAMPLE is wrong"}']
    refused = await (await bedrock.client_with()).post("/v1/messages", json=BODY)
    assert (refused.status_code, refused.json()["error"]["details"]["error_code"]) == (502, "upstream_credentials")
    assert "AKIDEXAMPLE" not in refused.text


@pytest.mark.parametrize("model", ["..", ".", "../../admin"])
async def test_bedrock_model_that_is_no_part_of_an_address(bedrock: Api, cloud: Cloud, model: str) -> None:
    client = await bedrock.client_with()
    refused = await client.post("/v1/messages", json=BODY | {"model": model})
    if refused.status_code != 200:
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert all("/../" not in path and path.startswith("/model/") for path, _, _ in cloud.requests)


async def test_bedrock_counts_no_tokens(bedrock: Api) -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    refused = await (await bedrock.client_with()).post("/v1/messages/count_tokens", json=body)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_claude_on_aws(start_api: StartApi, cloud: Cloud) -> None:
    api = await start_api(upstream="aws", upstream_base_url=cloud.url, upstream_api_key=None, max_retries=0)
    client = await api.client_with()
    cloud.content_type = "text/event-stream"
    cloud.answer = [b"event: a\ndata: %b\n\n" % event for event in EVENTS]
    response = await client.post("/v1/messages", json=BODY | {"stream": True})

    assert text_of(frames(response.text)) == "Grüße 🙂"
    ((path, told, body),) = cloud.requests
    assert path == "/v1/messages"
    assert told["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/aws-external-anthropic/aws4_request" in told["authorization"]
    assert told["anthropic-workspace-id"] == "wrkspc_1"
    assert told["anthropic-version"] == "2023-06-01"
    assert body == BODY | {"stream": True}
