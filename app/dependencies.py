"""What endpoints ask for: the process's parts, who is calling, and which page."""

import hashlib
import re
from typing import Annotated, Any, Final, NamedTuple, Protocol, TypedDict
from uuid import UUID

from fastapi import Depends, Header, Query, Request

from app.catalogue import Catalogue
from app.config import Settings
from app.db.pool import Pool
from app.domain.completion import Idempotency
from app.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from app.domain.principal import Principal, Scope
from app.observability import bind
from app.providers.listing import Listing
from app.streaming.engine import Engine
from app.streaming.hand_over import HandOver


class Authenticate(Protocol):
    async def __call__(self, secret: str) -> Principal:
        """Who holds `secret`.

        Raises:
            Unauthenticated: nobody does, or not any more.
        """


class State(TypedDict):
    """What the lifespan makes once and every request finds under `request.state`."""

    settings: Settings
    pool: Pool
    engine: Engine
    authenticate: Authenticate
    catalogue: Catalogue
    listing: Listing
    # None where the process itself can produce what nobody waits for.
    hand_over: HandOver | None
    # Of app.completions and app.batches, which lie above: only those look at it.
    admissions: object
    batches: object


# FastAPI runs a dependency that is no coroutine, also a class, in a thread: that takes longer than all it does here.
async def _settings(request: Request) -> Settings:
    return request.state.settings  # type: ignore[no-any-return]


async def _pool(request: Request) -> Pool:
    return request.state.pool  # type: ignore[no-any-return]


async def _engine(request: Request) -> Engine:
    return request.state.engine  # type: ignore[no-any-return]


async def _catalogue(request: Request) -> Catalogue:
    return request.state.catalogue  # type: ignore[no-any-return]


async def _listing(request: Request) -> Listing:
    return request.state.listing  # type: ignore[no-any-return]


SettingsDep = Annotated[Settings, Depends(_settings)]
PoolDep = Annotated[Pool, Depends(_pool)]
EngineDep = Annotated[Engine, Depends(_engine)]
CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
ListingDep = Annotated[Listing, Depends(_listing)]


def credentials(request: Request) -> str:
    """The secret that came with the request: both headers that SDKs use, and a query parameter for `EventSource`."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    if key := request.headers.get("x-api-key"):
        return key
    raise Unauthenticated("No API key: send `authorization: Bearer <key>` or `x-api-key: <key>`.", code="no_api_key")


async def authenticated(request: Request) -> Principal:
    principal = await _authenticated(request)
    bind(tenant=principal.tenant, key_id=str(principal.key_id) if principal.key_id is not None else None)
    return principal


async def _authenticated(request: Request) -> Principal:
    if token := request.query_params.get("token"):
        principal = await request.state.authenticate(token)
        if not principal.bound:
            # A key in a URL ends up in logs and histories; a token is good for minutes and for one thing only.
            raise Unauthenticated("Only a browser token may travel in the URL.", code="key_in_url")
        return principal  # type: ignore[no-any-return]
    return await request.state.authenticate(credentials(request))  # type: ignore[no-any-return]


class Requires:
    """A dependency: the caller, if its key has one of `scopes`; browser tokens only where their bounds are checked."""

    def __init__(self, *scopes: Scope, allow_bound: bool = False) -> None:
        self.scopes = scopes
        self.allow_bound = allow_bound

    async def __call__(self, request: Request) -> Principal:
        principal = await authenticated(request)  # one dependency less for FastAPI to resolve
        if principal.scopes.isdisjoint(self.scopes):
            wanted = " or ".join(f"`{scope}`" for scope in self.scopes)
            raise PermissionDenied(f"This key lacks the scope {wanted}.", code="missing_scope")
        if principal.bound and not self.allow_bound:
            raise PermissionDenied("A browser token cannot be used here.", code="token_out_of_bounds")
        return principal


# How the document tells of a position, which is no query's or header's fault to validate: its error has a code.
POSITION: Final[dict[str, Any]] = {"pattern": "^[0-9]{0,15}$"}


# Printable ASCII, as the IETF's draft "The Idempotency-Key HTTP Header Field" has it.
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


async def _idempotency(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="idempotency-key",
            description="Sent again under it, a request gets what the first one made.",
            json_schema_extra={"pattern": "^[ -~]{1,255}$"},
        ),
    ] = None,
) -> Idempotency | None:
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest(
            "The idempotency key must be 1 to 255 printable characters.", code="invalid_idempotency_key"
        )
    asked = b"%b %b\n%b" % (request.method.encode(), request.url.path.encode(), await request.body())
    return Idempotency(key, hashlib.sha256(asked).digest())


IdempotencyDep = Annotated[Idempotency | None, Depends(_idempotency)]


def replay_headers(replayed: bool) -> dict[str, str]:
    """What tells a caller that an earlier request with the same idempotency key has made what it is answered with."""
    return {"idempotent-replayed": "true"} if replayed else {}


def stream_position(value: str | None) -> int:
    """The position in a stream that `Last-Event-ID` or its like names; 0, its start, where there is none.

    Raises:
        InvalidRequest: it is no number that a stream gave out.
    """
    if not value:
        return 0
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise InvalidRequest("The position must be a number of the stream.", code="invalid_position")
    return int(value)


class Page(NamedTuple):
    """Where a list starts and how many items it may have. A cursor is the id of the last item already seen."""

    limit: int
    cursor: UUID | None


async def _page(
    limit: Annotated[int, Query(ge=1, le=200, description="Items at the most.")] = 50,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", json_schema_extra={"format": "uuid"})
    ] = None,
) -> Page:
    return Page(limit, _cursor(cursor))


def _cursor(value: str | None) -> UUID | None:
    try:
        return UUID(value) if value is not None else None
    except ValueError:
        raise InvalidRequest(
            "The cursor is not one that this API gave out.", code="invalid_cursor", param="cursor"
        ) from None


PageDep = Annotated[Page, Depends(_page)]


def page_of(items: list[dict[str, Any]], page: Page) -> dict[str, Any]:
    """The body of a list: `items` as fetched, up to one more than the page may have, and the way to the next page."""
    data = items[: page.limit]
    return {"data": data, "next_cursor": data[-1]["id"] if len(items) > page.limit else None}
