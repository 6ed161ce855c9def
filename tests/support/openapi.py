"""The OpenAPI document as it is committed, and the answers that its examples show: `python -m tests.support.openapi`.

A service is asked what the document's own examples ask. Ids, times and secrets differ each time and are replaced, so
that what is answered today can be compared with what is written.
"""

import asyncio
import itertools
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from app.openapi.document import EXAMPLES
from tests.support.aws import MACHINE
from tests.support.headwater import Headwater, running
from tests.support.postgres import Postgres
from tests.support.service import ROOT, make_key

DOCUMENT: Final = ROOT / "docs" / "openapi.json"
# What the service has to have that is asked: an engine of batches, which cannot be reached.
SERVICE: Final = {"workflow": MACHINE}
_AWAITS_APPROVAL: Final = """
    UPDATE batches SET status = 'awaiting_approval', finished_at = NULL, succeeded = succeeded + queued, queued = 0
    WHERE id = %s RETURNING id
"""
METHODS: Final = ("get", "post", "put", "patch", "delete")

_UUID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}(?![0-9a-f])")
_ALWAYS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "2026-01-01T00:00:00Z"),
    (re.compile(r'("created(?:_at)?": ?)1[78]\d{8}\b'), r"\g<1>1767225600"),
    (re.compile(r"\b(hwt?_)[A-Za-z0-9_-]{20,}"), r"\g<1>zY3vQmJ4T0kq8sWfLx1dR7uNcE2bHaGp"),
    (re.compile(r'("shown_prefix": ?)"[^"]*"'), r'\g<1>"hw_zY3vQ"'),
)


def document() -> dict[str, Any]:
    """As the application makes it."""
    settings = Settings(database_url=SecretStr("postgresql://"), admin_key=None, log_level="WARNING")
    return create_app(settings).openapi()


def written(made: dict[str, Any]) -> str:
    """The document as it is committed."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


class Operations:
    """What the document says, by the operations' ids."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.document = made
        self.routes: dict[str, tuple[str, str, dict[str, Any]]] = {
            item[method]["operationId"]: (method, path, item[method])
            for path, item in made["paths"].items()
            for method in METHODS
            if method in item
        }

    def examples(self, id: str) -> dict[str, Any]:
        """The bodies that the operation's examples send, by their names."""
        body = self.routes[id][2].get("requestBody")
        told = body["content"]["application/json"]["examples"] if body else {}
        return {name: example["value"] for name, example in told.items()}


class _Talk:
    """Asks by operations' ids and keeps what is answered, in files of those ids."""

    def __init__(self, client: httpx.AsyncClient, operations: Operations) -> None:
        self.client = client
        self.operations = operations
        self._ids: defaultdict[str, int] = defaultdict(itertools.count(1).__next__)
        self.files: dict[str, str] = {}

    def use(self, key: str) -> None:
        self.client.headers["authorization"] = f"Bearer {key}"

    async def ask(self, id: str, example: str = "", *, path: Mapping[str, str] | None = None, **query: str) -> Any:
        """The answer's JSON, None for a stream. Ids in `path` also stand in for those in the example."""
        ids = path or {}
        method, template, _ = self.operations.routes[id]
        body = with_ids(self.operations.examples(id)[example], ids) if example else None
        response = await self.client.request(method, template.format(**ids), json=body, params=query)
        assert response.is_success, response.text
        return self._kept(id, response)

    def _kept(self, id: str, response: httpx.Response) -> Any:
        if response.headers["content-type"].startswith("text/event-stream"):
            self.files[f"{id}.sse"] = self._plain(response.text)
            return None
        if response.headers["content-type"].startswith("application/jsonl"):
            self.files[f"{id}.jsonl"] = self._plain(response.text)
            return None
        if response.headers["content-type"].startswith("text/csv"):
            self.files[f"{id}.csv"] = self._plain(response.text.replace("\r\n", "\n"))
            return None
        answer = response.json()
        self.files[f"{id}.json"] = self._plain(json.dumps(answer, indent=2, ensure_ascii=False)) + "\n"
        return answer

    def _plain(self, text: str) -> str:
        for pattern, always in _ALWAYS:
            text = pattern.sub(always, text)
        return _UUID.sub(self._number, text)

    def _number(self, found: re.Match[str]) -> str:
        bare = f"01980000000070008{self._ids[found[0].replace('-', '')]:015x}"
        if "-" not in found[0]:
            return bare
        return "-".join((bare[:8], bare[8:12], bare[12:16], bare[16:20], bare[20:]))


def with_ids(body: Any, ids: Mapping[str, str]) -> Any:
    """`body` with these ids in its fields of these names."""
    return {name: ids.get(name, value) for name, value in body.items()} if isinstance(body, dict) else body


async def recorded(headwater: Headwater) -> dict[str, str]:
    """What a new service answers to the examples: the texts of the files in `app/openapi/examples`, by their names."""
    async with headwater.client(headwater.service.admin_key) as client:
        talk = _Talk(client, Operations(document()))
        await talk.ask("livez")
        await talk.ask("readyz")
        key = await talk.ask("create_key", "backend")
        await talk.ask("list_keys", tenant="shop")
        await talk.ask("get_key", path={"key_id": key["id"]})
        talk.use(key["secret"])
        await _conversations(talk)
        await _completions(talk)
        await _dialects(talk)
        await _chat(talk)
        await _usage(talk)
        await _batches(talk, headwater)
        talk.use(headwater.service.admin_key)
        await _limits(talk, key["id"])
        return talk.files


async def _conversations(talk: _Talk) -> None:
    made = await talk.ask("create_conversation", "whole")
    here = {"conversation_id": made["id"]}
    await talk.ask("list_conversations")
    await talk.ask("get_conversation", path=here)
    await talk.ask("change_conversation", "rename", path=here)
    await talk.ask("append_messages", "several", path=here)
    await talk.ask("list_messages", path=here)
    await talk.ask("create_token", "conversation", path=here)


async def _completions(talk: _Talk) -> None:
    await talk.ask("create_completion", "streaming")
    made = await talk.ask("create_completion", "whole")
    here = {"completion_id": made["id"]}
    await talk.ask("list_completions", limit="1")
    await talk.ask("get_completion", path=here)
    await talk.ask("stream_completion", path=here)
    await talk.ask("cancel_completion", path=here)


async def _batches(talk: _Talk, headwater: Headwater) -> None:
    """No engine works on them: what it would bring one to is put into its row."""
    made = await talk.ask("create_batch", "native")
    here = {"batch_id": made["id"]}
    await talk.ask("cancel_batch", path=here)
    await talk.ask("get_batch", path=here)
    await talk.ask("list_batches")
    await talk.ask("list_batch_results", path=here)
    await talk.ask("stream_batch", path=here)
    await talk.ask("retry_batch", path=here)
    headwater.rows("UPDATE batches SET status = 'paused' WHERE id = %s RETURNING id", made["id"])
    await talk.ask("resume_batch", path=here)
    async with headwater.client(headwater.service.admin_key) as admin:
        approving = await make_key(admin, "batches:approve", tenant="shop")
    caller = talk.client.headers["authorization"].removeprefix("Bearer ")
    talk.use(approving)
    for decision in ("approve_batch", "reject_batch"):
        headwater.rows(_AWAITS_APPROVAL, made["id"])
        await talk.ask(decision, path=here)
    talk.use(caller)


async def _dialects(talk: _Talk) -> None:
    for id in ("create_message", "create_chat_completion", "create_response"):
        await talk.ask(id, "streaming")
    await talk.ask("create_message", "whole")
    await talk.ask("count_tokens", "system")
    await talk.ask("create_chat_completion", "whole")
    response = await talk.ask("create_response", "whole")
    here = {"response_id": response["id"]}
    await talk.ask("get_response", path=here)
    await talk.ask("get_response", path=here, stream="true")
    await talk.ask("list_input_items", path=here)
    await talk.ask("cancel_response", path=here)
    await talk.ask("delete_response", path=here)
    await talk.ask("list_models")
    await talk.ask("get_model", path={"model_id": "claude-sim"})


async def _limits(talk: _Talk, key_id: str) -> None:
    """At the end: what the examples ask for has no price, so that no budget has room for it."""
    here = {"key_id": key_id}
    await talk.ask("change_key", "limits", path=here)
    await talk.ask("rotate_key", "an hour", path=here)
    await talk.ask("set_tenant_limits", "both", path={"tenant": "shop"})
    await talk.ask("get_tenant_limits", path={"tenant": "shop"})
    await talk.ask("list_audit", key_id=key_id)


async def _usage(talk: _Talk) -> None:
    await talk.ask("sum_up_usage", group_by="model")
    await talk.ask("sum_up_usage", group_by="model", format="csv")


async def _chat(talk: _Talk) -> None:
    """The second answer takes a while: there is something to read on in."""
    await talk.ask("send_chat_message", "message")
    body = talk.operations.examples("send_chat_message")["message"] | {"id": "slow", "model": "sim-ok?rate=4"}
    async with talk.client.stream("POST", "/api/chat", json=body) as running_answer:
        await anext(running_answer.aiter_bytes())
        await talk.ask("resume_chat", path={"chat_id": "slow"})


async def _write() -> None:
    folder = Path(tempfile.mkdtemp(prefix="headwater-openapi-"))
    with Postgres() as postgres:
        async with running(postgres, folder, **SERVICE) as headwater:
            answers = await recorded(headwater)
    for name, text in answers.items():
        (EXAMPLES / name).write_text(text, encoding="utf-8")
    DOCUMENT.write_text(written(document()), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_write())
