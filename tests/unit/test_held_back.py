"""Which parts of a request are only for keys that may, and what of them is never stored."""

from typing import Any, Final

import pytest

from app.completions import held_back
from app.domain.errors import PermissionDenied
from app.domain.principal import Principal, Scope, Tenant

HELLO: Final = {"role": "user", "content": "Hello."}
FILE: Final = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}

ORDINARY: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "nulls": {"service_tier": None, "speed": None, "container": None, "mcp_servers": None, "tools": None},
    "own-tool": {"tools": [{"name": "a", "input_schema": {}}]},
    "custom-tool": {"tools": [{"type": "custom", "name": "a", "input_schema": {}}]},
    "tools-that-the-caller-runs": {
        "tools": [
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "editor"},
            {"type": "computer_20250124", "name": "computer"},
            {"type": "memory_20250818", "name": "memory"},
        ]
    },
    "of-no-kind": {"tools": 5},
    "tools-of-no-kind": {"tools": [5, None, "a"]},
    "a-text-about-files": {"system": "file_id"},
}
HELD: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "service_tier": ("service_tier", {"service_tier": "auto"}),
    "speed": ("speed", {"speed": "fast"}),
    "inference_geo": ("inference_geo", {"inference_geo": "us"}),
    "container": ("container", {"container": {"id": "c"}}),
    "mcp_servers": ("mcp_servers", {"mcp_servers": []}),
    "search": ("server_tools", {"tools": [{"type": "web_search_20260209", "name": "web_search"}]}),
    "execution": ("server_tools", {"tools": [{"name": "a"}, {"type": "code_execution_20250825", "name": "b"}]}),
    "tool-of-the-future": ("server_tools", {"tools": [{"type": "future_tool", "name": "a"}]}),
    "tool-of-no-kind": ("server_tools", {"tools": [{"type": 5, "name": "a"}]}),
    "file-in-the-system": ("file_ids", {"system": [{"type": "text", "text": "a", "source": {"file_id": "f"}}]}),
}


def principal(*allowed: str) -> Principal:
    return Principal(Tenant("default"), None, frozenset({Scope.COMPLETIONS}), frozenset(allowed))


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_requests_pass(name: str) -> None:
    held_back.check(principal(), ORDINARY[name], [HELLO])


@pytest.mark.parametrize("name", HELD)
def test_the_rest_is_for_keys_that_may(name: str) -> None:
    what, body = HELD[name]
    with pytest.raises(PermissionDenied) as caught:
        held_back.check(principal("something_else"), body, [HELLO])
    assert (caught.value.param, caught.value.code) == (what, "not_allowed_for_key")
    held_back.check(principal(what), body, [HELLO])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [FILE]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [FILE]}]},
        [[FILE]],
    ],
)
def test_files_are_found_at_any_depth(message: Any) -> None:
    with pytest.raises(PermissionDenied) as caught:
        held_back.check(principal(), {}, [HELLO, message])
    assert caught.value.param == "file_ids"
    held_back.check(principal("file_ids"), {}, [HELLO, message])


def test_each_needs_its_own_permission() -> None:
    both = {"speed": "fast", "service_tier": "auto"}
    with pytest.raises(PermissionDenied) as caught:
        held_back.check(principal("speed"), both, [])
    assert caught.value.param == "service_tier"
    held_back.check(principal("speed", "service_tier"), both, [])


def test_tokens_are_not_stored() -> None:
    body = {"model": "m", "mcp_servers": [{"name": "a", "url": "u", "authorization_token": "secret"}, 5]}
    kept = held_back.without_tokens(body)
    assert kept == {"model": "m", "mcp_servers": [{"name": "a", "url": "u"}]}
    assert body["mcp_servers"][0]["authorization_token"] == "secret"  # type: ignore[index]


@pytest.mark.parametrize("servers", [None, "secret", {"authorization_token": "secret"}, 5])
def test_servers_of_no_kind_are_not_stored(servers: Any) -> None:
    assert "secret" not in str(held_back.without_tokens({"mcp_servers": servers}))
