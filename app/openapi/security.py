"""Who may call: read from the routes, which is where it is decided."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from fastapi.dependencies.models import Dependant

from app.dependencies import Requires

SCHEMES: Final[dict[str, dict[str, Any]]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key (`hw_...`), or a browser token where one is accepted.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same, as Anthropic's clients send it.",
    },
    "browser_token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A browser token (`POST /v1/tokens`), for an `EventSource`, which sets no headers. Never a key.",
    },
}


def requirements(dependant: Dependant) -> list[dict[str, list[str]]]:
    """For an operation's `security`: any one of these, with all the scopes that it names."""
    required = list(_required(dependant))
    if not required:
        return []
    names = ["bearer", "api_key"] + ["browser_token"] * all(each.allow_bound for each in required)
    enough = [sorted(set(scopes)) for scopes in product(*(each.scopes for each in required))]
    return [{name: list(scopes)} for scopes in enough for name in names]


def _required(dependant: Dependant) -> Iterator[Requires]:
    if isinstance(dependant.call, Requires):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _required(each)
