"""The headers of answers that say something."""

from collections.abc import Iterable
from typing import Any, Final

from app.wire import limit_headers

# Those of every answer.
EVERYWHERE: Final = ("request-id", "x-request-id", "server-timing")
# Those of what made a completion.
COMPLETION: Final = ("x-completion-id", "location", "idempotent-replayed", *limit_headers.NAMES)

_REQUEST_ID: Final = {
    "description": "The request's id, which our log names it by: on AWS the platform's, which its own logs have too.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"},
}
HEADERS: Final[dict[str, dict[str, Any]]] = {
    "request-id": _REQUEST_ID,
    "x-request-id": _REQUEST_ID,
    "server-timing": {
        "description": "Which home and instance answered, how that began (`cold`, `restored` or `warm`), and what the "
        "upstream took until its first event, in milliseconds. `HEADWATER_SERVER_TIMING=false` leaves it out.",
        "schema": {"type": "string"},
    },
    "x-completion-id": {
        "description": "The completion's id: it opens the native API, whatever dialect began it.",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    },
    "location": {
        "description": "Where it is found; begins with `HEADWATER_PUBLIC_URL`, if that is set.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "idempotent-replayed": {
        "description": "An earlier request with this idempotency key has begun it.",
        "schema": {"type": "boolean", "const": True},
    },
    **{
        name: {
            "description": "What a limited caller has left in this minute, in the headers of the dialect.",
            "schema": {"type": "string"},
        }
        for name in limit_headers.NAMES
    },
    "x-ignored-params": {
        "description": "Parameters of the request that had no effect, separated by commas.",
        "schema": {"type": "string"},
    },
    "x-vercel-ai-ui-message-stream": {
        "description": "The version of the UI message stream.",
        "required": True,
        "schema": {"type": "string", "const": "v1"},
    },
    "cache-control": {
        "description": "What holds a secret is not to be kept.",
        "required": True,
        "schema": {"type": "string", "const": "no-store"},
    },
    "link": {
        "description": "The next page, where there is one (RFC 8288).",
        "schema": {"type": "string"},
    },
    "retry-after": {
        "description": "Seconds to wait before another try, where it is known.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "x-should-retry": {
        "description": "Told to SDKs that would otherwise guess from the status whether to try again.",
        "schema": {"type": "boolean"},
    },
}


def references(names: Iterable[str]) -> dict[str, Any]:
    """For a response: the headers of every answer, and these."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in sorted({*EVERYWHERE, *names})}
