"""The OpenAPI document against a running service: everything that it allows, and much that it forbids, is sent.

What comes back has to be in the document: its status, type, body and headers; and nothing may break. The requests are
the same in every run, but for the ids that the service made.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import jsonschema_rs
import pytest
import pytest_asyncio
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.schemas import BaseSchema

from app.completions.schemas import MAX_TOKENS
from app.domain.ids import uuid7
from tests.conftest import LOGS
from tests.support.aws import MACHINE, running_aws
from tests.support.headwater import Headwater, frames, running
from tests.support.openapi import Operations, document
from tests.support.postgres import Postgres
from tests.support.service import make_key

pytestmark = [pytest.mark.compat, pytest.mark.asyncio(loop_scope="module")]

SECONDS: Final = 90
OPERATIONS: Final = Operations(document())
# What they are sent has to make sense too: to the upstream, the store, the clock, the stream that is read on in. And a
# number is not whole if it is written with a point, which a schema cannot tell.
REFUSED_FOR_THEIR_MEANING: Final = (
    "create_completion",
    "create_batch",
    "stream_completion",
    "create_message",
    "count_tokens",
    "create_chat_completion",
    "create_response",
    "send_chat_message",
    "create_conversation",
    "change_conversation",
    "list_conversations",
    "create_key",
    "create_token",
    "change_key",
    "rotate_key",
    "set_tenant_limits",
    "sum_up_usage",
)
# Revoked with DELETE, a key can be read all the same.
KEPT: Final = ("get_key",)
OF_THE_CONNECTION: Final = ("content-length", "transfer-encoding", "connection", "upgrade", "expect")
NOBODY: Final = "01980000-0000-7000-8000-000000000000"


async def test_the_document_is_valid() -> None:
    schemathesis.openapi.from_dict(OPERATIONS.document).validate()


def _bodies(kind: str) -> Iterator[Any]:
    """Each JSON body of the document that has an example, as its schema and that example."""
    for id, (_, _, operation) in OPERATIONS.routes.items():
        sent, answered = [operation.get("requestBody", {})], operation["responses"].values()
        for body in sent if kind == "request" else answered:
            for type, media in body.get("content", {}).items():
                if type == "application/jsonl":
                    for number, line in enumerate(media["example"].splitlines()):
                        yield pytest.param(media["schema"], json.loads(line), id=f"{id}-{number}")
                elif "json" in type:
                    examples = media.get("examples") or {"": {"value": media["example"]}}
                    for name, example in examples.items():
                        yield pytest.param(media["schema"], example["value"], id=f"{id}-{name}")


def _fits(schema: dict[str, Any], value: Any, components: dict[str, Any]) -> None:
    """
    Raises:
        jsonschema_rs.ValidationError: it does not.
    """
    jsonschema_rs.Draft202012Validator({**schema, "components": components}, validate_formats=True).validate(value)


@pytest.mark.parametrize(("schema", "example"), list(_bodies("request")))
async def test_examples_of_requests_fit_their_schema(schema: dict[str, Any], example: Any) -> None:
    _fits(schema, example, OPERATIONS.document["components"])


@pytest.mark.parametrize(("schema", "example"), list(_bodies("answer")))
async def test_examples_of_answers_have_no_field_that_is_not_described(schema: dict[str, Any], example: Any) -> None:
    _fits(_closed(schema), example, _closed(OPERATIONS.document["components"]))


def _closed(node: Any) -> Any:
    """A schema whose objects have no fields but those that it names."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(value) for name, value in node.items()}
    return {"additionalProperties": False, **closed} if isinstance(node.get("properties"), dict) else closed


@schemathesis.check
def streams_are_whole(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """Each ends with a whole frame, and its positions grow."""
    if response.headers.get("content-type") == ["text/event-stream"]:
        positions = [int(frame.id) for frame in frames(response.content.decode()) if frame.id]
        assert positions == sorted(positions)


def _config(url: str, key: str) -> SchemathesisConfig:
    unjudged = {"positive_data_acceptance": {"enabled": False}}
    kept = {"use_after_free": {"enabled": False}}
    return SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "seed": 1,
            "max-time": SECONDS,
            "max-stream-events": 100_000,
            "request-timeout": 30,
            "continue-on-failure": True,
            # It takes a token that the API has given it for one that it made up; test_openapi_access.py asks every
            # operation without a key and with those of others.
            "checks": {"ignored_auth": {"enabled": False}},
            "auth": {"openapi": {"bearer": {"bearer": key}}},
            "generation": {"deterministic": True, "max-examples": 8, "database": "none", "no-shrink": True},
            "operations": [
                *({"include-operation-id": id, "checks": unjudged} for id in REFUSED_FOR_THEIR_MEANING),
                *({"include-operation-id": id, "checks": kept} for id in KEPT),
            ],
        }
    )


def _short(context: Any, body: Any) -> Any:
    """What may ask for any model asks for one that there is, and for a short answer."""
    if isinstance(body, dict):
        if isinstance(model := body.get("model"), str) and 0 < len(model) <= 200 and "\0" not in model:
            body["model"] = "claude-sim"
        for limit in ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens", "maxOutputTokens"):
            if isinstance(body.get(limit), int) and 20 < body[limit] <= MAX_TOKENS:
                body[limit] = 20
    return body


def _run(url: str, key: str, key_id: str) -> tuple[Counter[str], list[str]]:
    """How often each operation was called, and what was wrong."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=_config(url, key))
    schema.hooks.register_hook_with_name(_short, "map_body")

    def before_call(context: Any, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
        """Nobody revokes the key that all this is asked with, no idempotency key is used for two requests, and what
        belongs to the connection is not made up: HTTP's parser answers that, before any of the API sees it.
        """
        for name in [name for name in case.headers or () if name.lower() in OF_THE_CONNECTION]:
            del case.headers[name]
        if case.path_parameters.get("key_id") == key_id:
            case.path_parameters["key_id"] = NOBODY
        again = case.headers.get("idempotency-key") if case.headers else None
        if isinstance(again, str) and re.fullmatch("[ -~]{1,255}", again):
            case.headers["idempotency-key"] = str(uuid7())

    schemathesis.hook(before_call)
    try:
        return _called(schema)
    finally:
        schemathesis.hooks.unregister(before_call)


def _called(schema: BaseSchema) -> tuple[Counter[str], list[str]]:
    calls: Counter[str] = Counter()
    faults: list[str] = []
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder):
                calls.update(node.value.operation.label for node in recorder.cases.values())
                for checks in recorder.checks.values():
                    faults += [
                        f"{recorder.label}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                        for check in checks
                        if check.failure_info is not None
                    ]
            case events.NonFatalError(value=error, label=label):
                faults.append(f"{label}: {error}")
            case events.FatalError(exception=error):
                raise error
    return calls, faults


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    folder = tmp_path_factory.mktemp("service")
    with running_aws() as aws:  # an engine for batches, which only takes notice of them
        chosen: dict[str, Any] = {"max_retries": 0, "total_timeout": 30, "log_level": "WARNING", "workflow": MACHINE}
        async with running(postgres, folder, environment=aws.environment, **chosen) as running_one:
            yield running_one


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest) -> None:
    if "headwater" in request.fixturenames:
        request.node.stash[LOGS] = request.getfixturevalue("headwater").folder


@pytest.mark.timeout(4 * SECONDS)
async def test_nothing_is_answered_that_the_document_does_not_tell(headwater: Headwater) -> None:
    service = headwater.service
    async with headwater.client(service.admin_key) as admin:
        key = await make_key(admin, "admin", "completions", "conversations", "batches:approve", tenant="fuzz")
        (listed,) = (await admin.get("/v1/keys", params={"tenant": "fuzz"})).json()["data"]
    calls, faults = await asyncio.to_thread(_run, service.url, key, listed["id"])
    kinds = Counter(fault.partition("\n")[0] for fault in faults)
    assert not faults, "\n\n".join([*(f"{number} x {kind}" for kind, number in kinds.items()), *faults[:20]])
    assert len(calls) == len(OPERATIONS.routes)
    assert service.process.poll() is None
    assert "unhandled error" not in service.log.read_text()
    async with headwater.client(key) as client:
        assert (await client.get("/v1/models")).status_code == 200  # it had a key until the end
