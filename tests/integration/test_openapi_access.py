"""Who may call what: every operation of the OpenAPI document, as the document says.

A new operation is covered by being in the document. One whose path has a parameter of a new name needs a value for it
in `_things_of`, or in `SHARED` if it is nobody's own.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import product
from string import Formatter
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.support.headwater import Headwater
from tests.support.openapi import SERVICE, Operations, document, with_ids
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

__all__ = ["SERVICE"]  # of the module's instance

OPEN: Final = ("/livez", "/readyz")
SHARED: Final = {"model_id": "claude-sim", "tenant": "a"}
# What the configured admin key alone may do, and no tenant's admin.
OPERATORS: Final = "/v1/tenants/"
SCOPES: Final = ("admin", "completions", "conversations", "batches:approve")
# The names of what belongs to a tenant, in paths and in bodies.
OWNED: Final = {
    "key_id",
    "conversation_id",
    "completion_id",
    "response_id",
    "previous_response_id",
    "chat_id",
    "batch_id",
}
OPERATIONS: Final = Operations(document())


@dataclass(frozen=True)
class Call:
    """A request that the document shows: an operation with one of its example bodies, if it has any."""

    method: str
    path: str
    body: Any
    operation: dict[str, Any]

    @property
    def lacking(self) -> set[frozenset[str]]:
        """The scopes that a key has to lack to be refused: of each way to be let in, one."""
        ways = [way["bearer"] for way in self.operation["security"] if "bearer" in way]
        return {frozenset(missing) for missing in product(*ways)}

    @property
    def takes_browser_tokens(self) -> bool:
        return any("browser_token" in way for way in self.operation["security"])

    @property
    def names(self) -> set[str]:
        """What it names in its path or in its body's fields."""
        fields = set(self.body) if isinstance(self.body, dict) else set()
        return {name for _, name, _, _ in Formatter().parse(self.path) if name} | fields

    async def send(
        self, client: httpx.AsyncClient, ids: dict[str, str], *, key: str | None = None, token: str | None = None
    ) -> httpx.Response:
        return await client.request(
            self.method,
            self.path.format(**ids, **SHARED),
            json=with_ids(self.body, ids),
            headers={"authorization": f"Bearer {key}"} if key else None,
            params={"token": token} if token else None,
        )


def _calls() -> Iterator[Any]:
    for id, (method, path, operation) in OPERATIONS.routes.items():
        for name, body in (OPERATIONS.examples(id) or {"": None}).items():
            yield pytest.param(Call(method, path, body, operation), id=f"{id}-{name}".strip("-"))


CALLS: Final = list(_calls())
GUARDED: Final = [call for call in CALLS if call.values[0].path not in OPEN]


async def _key(headwater: Headwater, tenant: str, *scopes: str) -> str:
    async with headwater.client(headwater.service.admin_key) as admin:
        return await make_key(admin, *scopes, tenant=tenant)


async def _things_of(client: httpx.AsyncClient) -> dict[str, str]:
    """One of each thing that a path or a body can name, of the client's tenant; the names are the document's."""
    key = await client.post("/v1/keys", json={"name": "one", "scopes": ["completions"]})
    conversation = await client.post("/v1/conversations", json={"external_id": "a-chat"})
    asked = {"model": "claude-sim", "max_tokens": 5, "stream": False, "input": "Hello"}
    completion = await client.post("/v1/completions", json=asked)
    response = await client.post("/v1/responses", json={"model": "claude-sim", "input": "Hello"})
    item = {"custom_id": "1", "request": {"model": "claude-sim", "max_tokens": 5, "input": "Hello"}}
    batch = await client.post("/v1/batches", json={"items": [item]})
    for made in (key, conversation, completion, response, batch):
        assert made.is_success, made.text
    return {
        "key_id": key.json()["id"],
        "conversation_id": conversation.json()["id"],
        "completion_id": completion.json()["id"],
        "response_id": response.json()["id"],
        "previous_response_id": response.json()["id"],
        "chat_id": "a-chat",
        "batch_id": (await client.post(f"/v1/batches/{batch.json()['id']}/cancel")).json()["id"],  # so that it ends
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nobody(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with httpx.AsyncClient(base_url=headwater.service.url) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def owner(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    """A client of tenant A, with every scope."""
    async with headwater.client(await _key(headwater, "a", *SCOPES)) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ids(owner: httpx.AsyncClient) -> dict[str, str]:
    """What tenant A has."""
    return await _things_of(owner)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(headwater: Headwater) -> dict[frozenset[str], str]:
    """Keys of tenant A, by the scopes that they lack."""
    lacking = {missing for call in GUARDED for missing in call.values[0].lacking}
    return {missing: await _key(headwater, "a", *(set(SCOPES) - missing)) for missing in lacking}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def foreign(headwater: Headwater) -> str:
    """A key of tenant B that lacks nothing."""
    return await _key(headwater, "b", *SCOPES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(owner: httpx.AsyncClient, ids: dict[str, str]) -> str:
    """A browser token of tenant A, for its conversation."""
    made = await owner.post("/v1/tokens", json={"conversation_id": ids["conversation_id"]})
    secret: str = made.json()["token"]
    return secret


@pytest.mark.parametrize("call", GUARDED)
async def test_without_a_key_401(call: Call, nobody: httpx.AsyncClient, ids: dict[str, str]) -> None:
    assert (await call.send(nobody, ids)).status_code == 401


@pytest.mark.parametrize("call", GUARDED)
async def test_with_a_key_that_is_none_401(call: Call, nobody: httpx.AsyncClient, ids: dict[str, str]) -> None:
    assert (await call.send(nobody, ids, key="hw_" + "x" * 43)).status_code == 401


@pytest.mark.parametrize("call", GUARDED)
async def test_without_a_scope_403(
    call: Call, nobody: httpx.AsyncClient, ids: dict[str, str], keys: dict[frozenset[str], str]
) -> None:
    assert frozenset() not in call.lacking
    for missing in call.lacking:
        assert (await call.send(nobody, ids, key=keys[missing])).status_code == 403


@pytest.mark.parametrize("call", [call for call in GUARDED if not call.values[0].takes_browser_tokens])
async def test_with_a_browser_token_403(call: Call, nobody: httpx.AsyncClient, ids: dict[str, str], token: str) -> None:
    assert (await call.send(nobody, ids, token=token)).status_code == 403


@pytest.mark.parametrize("call", [call for call in GUARDED if call.values[0].names & OWNED])
async def test_another_tenants_things_are_not_there(
    call: Call, nobody: httpx.AsyncClient, ids: dict[str, str], foreign: str
) -> None:
    response = await call.send(nobody, ids, key=foreign)
    assert response.status_code == (204 if "{chat_id}" in call.path else 404), response.text


@pytest.mark.parametrize("call", [call for call in GUARDED if call.values[0].path.startswith(OPERATORS)])
async def test_a_tenants_admin_is_no_operator_403(call: Call, owner: httpx.AsyncClient, ids: dict[str, str]) -> None:
    assert (await call.send(owner, ids)).status_code == 403


READ_BY_OWNERS: Final = [
    call for call in GUARDED if call.values[0].method == "get" and not call.values[0].path.startswith(OPERATORS)
]


@pytest.mark.parametrize("call", READ_BY_OWNERS)
async def test_the_owner_finds_them(call: Call, owner: httpx.AsyncClient, ids: dict[str, str]) -> None:
    """So what others are refused is refused for who they are."""
    response = await call.send(owner, ids)
    assert response.is_success, response.text


@pytest.mark.parametrize("call", [call for call in CALLS if call.values[0].path in OPEN])
async def test_health_needs_no_key(call: Call, nobody: httpx.AsyncClient) -> None:
    assert call.operation["security"] == []
    assert (await call.send(nobody, {})).status_code == 200
