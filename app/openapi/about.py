"""What the document says of the API as a whole."""

from typing import Any, Final

SUMMARY: Final = "Completions of language models as durable streams that can be read on from any instance."
DESCRIPTION: Final = """\
A completion is a log that Headwater keeps, not a connection: clients that lost theirs read on where they were, in any
dialect, from any instance.

Every request but those for health carries a key, `authorization: Bearer hw_...` or `x-api-key: hw_...`. A browser token
opens one completion or one conversation for minutes; it is sent like a key, or as `?token=`.

Errors before the first byte are HTTP errors: problem details (RFC 9457), or in the dialect's own shape. After it, an
error is an event of the stream. A field of a request may be nested 100 levels deep, and a body be 5.5 MB long, unless
`HEADWATER_MAX_BODY` says otherwise. What is no HTTP, or has an address of more than 64 kB, gets a 400 in plain text.
"""
SERVERS: Final[list[dict[str, str | Any]]] = [{"url": "/", "description": "The instance that gave this page."}]
TAGS: Final[list[dict[str, Any]]] = [
    {"name": "completions", "description": "The native API: make, read, resume, stop and delete completions."},
    {
        "name": "batches",
        "description": "Many completions at once, over hours or days, and approval of what they came to.",
    },
    {"name": "conversations", "description": "Conversations and their messages, which completions go on from."},
    {"name": "Anthropic Messages", "description": "The Messages API, for Anthropic's SDKs and their like."},
    {
        "name": "OpenAI Chat Completions",
        "description": "Chat Completions, for OpenAI's SDKs and their like.",
    },
    {"name": "OpenAI Responses", "description": "The Responses API: any completion is a response too."},
    {"name": "AI SDK", "description": "What `useChat` of the AI SDK calls with its default transport."},
    {"name": "Models", "description": "What may be asked for, in a form that OpenAI's and Anthropic's clients read."},
    {"name": "keys", "description": "Keys, for admins. The configured admin key may see to all tenants."},
    {"name": "oversight", "description": "Limits of whole tenants, and who changed what."},
    {"name": "usage", "description": "What was used, and what it cost."},
    {"name": "tokens", "description": "Credentials for pages in browsers."},
    {"name": "health", "description": "For load balancers and orchestrators; no key needed."},
]
