"""`/v1/keys` and `/v1/tokens`."""

from typing import Final

from app.access import endpoints
from app.access.schemas import KeyChange, KeyOut, KeyPage, NewKey, NewKeyOut, NewToken, Rotation, TokenOut
from app.domain.errors import Conflict, NotFound, PermissionDenied, Unprocessable
from app.openapi.errors import BAD_CURSOR, INVALID, NO_COMPLETION, NO_CONVERSATION, REPEATED, SHOWN_ONCE
from app.openapi.operation import Answer, Body, Operation, Subject

_NO_KEY: Final = NotFound("There is no such key.")
FOREIGN: Final = PermissionDenied("This key administers its own tenant only.", code="foreign_tenant")
NOT_YOURS: Final = PermissionDenied("This key cannot allow what it is not allowed itself.", code="not_yours_to_allow")

SUBJECT: Final = Subject(
    operations={
        "create_key": Operation(
            endpoint=endpoints.create_key,
            takes=Body(
                types=[NewKey],
                examples={
                    "backend": {"name": "shop backend", "scopes": ["completions", "conversations"], "tenant": "shop"},
                    "own tenant": {"name": "a colleague", "scopes": ["admin"], "expires_at": "2099-12-31T23:59:59Z"},
                },
            ),
            answers=[
                Answer(
                    status=201,
                    description="The key, with its secret.",
                    json=NewKeyOut,
                    headers=["location", "cache-control"],
                )
            ],
            errors=[
                Unprocessable("name: Field required", param="name"),
                NOT_YOURS,
                FOREIGN,
                *REPEATED,
                SHOWN_ONCE,
            ],
        ),
        "list_keys": Operation(
            endpoint=endpoints.list_keys,
            answers=[Answer(description="A page of keys.", json=KeyPage)],
            errors=[BAD_CURSOR, INVALID, FOREIGN],
        ),
        "get_key": Operation(
            endpoint=endpoints.get_key, answers=[Answer(description="The key.", json=KeyOut)], errors=[_NO_KEY]
        ),
        "change_key": Operation(
            endpoint=endpoints.change_key,
            takes=Body(
                types=[KeyChange],
                examples={
                    "limits": {"limits": {"requests_per_minute": 60, "monthly_budget": "25.00", "open_streams": None}},
                    "name": {"name": "the shop's backend"},
                },
            ),
            answers=[Answer(description="The key as it is now.", json=KeyOut)],
            errors=[
                Unprocessable("limits.open_streams: Input should be a valid integer", param="limits.open_streams"),
                NOT_YOURS,
                _NO_KEY,
                Conflict("This key was revoked.", code="key_not_valid"),
            ],
        ),
        "rotate_key": Operation(
            endpoint=endpoints.rotate_key,
            takes=Body(types=[Rotation], examples={"an hour": {"overlap_seconds": 3600}}),
            answers=[Answer(description="The key, with its new secret.", json=NewKeyOut, headers=["cache-control"])],
            errors=[
                Unprocessable("overlap_seconds: Field required", param="overlap_seconds"),
                NOT_YOURS,
                _NO_KEY,
                *REPEATED,
                SHOWN_ONCE,
            ],
        ),
        "revoke_key": Operation(
            endpoint=endpoints.revoke_key, answers=[Answer(status=204, description="It is revoked.")], errors=[_NO_KEY]
        ),
        "create_token": Operation(
            endpoint=endpoints.create_token,
            takes=Body(
                types=[NewToken],
                examples={
                    "conversation": {"conversation_id": "01980000-0000-7000-8000-000000000000", "ttl_seconds": 600},
                    "completion": {"completion_id": "01980000-0000-7000-8000-000000000000"},
                },
            ),
            answers=[
                Answer(status=201, description="The token, with its secret.", json=TokenOut, headers=["cache-control"])
            ],
            errors=[
                Unprocessable("body: give exactly one of completion_id and conversation_id", param="body"),
                NO_COMPLETION,
                NO_CONVERSATION,
                *REPEATED,
                SHOWN_ONCE,
            ],
        ),
    }
)
