"""Whoever may not is told so in the right shape, and learns nothing else."""

from typing import Any, Final

import httpx
import pytest

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
KEY: Final[dict[str, Any]] = {"name": "shop", "scopes": ["completions"]}


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
    assert '"route":"/v1/completions"' in text
    for secret in (headwater.service.key, headwater.service.admin_key, "the-upstreams-own-key", SECRET):
        assert secret not in text
