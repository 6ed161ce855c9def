"""What the endpoints for keys and browser tokens take and answer."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from app.domain.principal import Scope, Tenant

_FAR_AWAY: Final = timedelta(days=36_525)


def _in_the_future(moment: datetime) -> datetime:
    now = datetime.now(UTC)
    if not now < moment < now + _FAR_AWAY:
        raise ValueError("must be in the future, and within a hundred years")
    return moment


# Postgres has no NUL in text.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
TenantName = Annotated[Tenant, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:*-]{0,99}$")]
Expiry = Annotated[AwareDatetime, AfterValidator(_in_the_future)]


class NewKey(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "shop backend", "scopes": ["completions", "conversations"], "tenant": "shop"}]
        },
    )

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, description="What the key may do.")]
    tenant: Annotated[
        TenantName | None, Field(description="Who owns what the key makes; left out, the tenant of the key that asks.")
    ] = None
    allowed: Annotated[
        list[FieldName],
        Field(max_length=100, description="Request fields that change the price or reach further, and are allowed."),
    ] = []
    expires_at: Annotated[Expiry | None, Field(description="RFC 3339 with an offset; null for never.")] = None


class KeyOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    tenant: str
    name: str
    shown_prefix: Annotated[str, Field(description="The first characters of the secret.")]
    scopes: list[str]
    allowed: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    secret: Annotated[str, Field(description="Shown this once.", examples=["hw_zY3…"])]


class KeyPage(BaseModel):
    data: list[KeyOut]
    next_cursor: UUID | None


class NewToken(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"conversation_id": "01980000-0000-7000-8000-000000000000", "ttl_seconds": 600}]
        },
    )

    completion_id: UUID | None = None
    conversation_id: UUID | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=3600, strict=True)] = 600

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.completion_id is None) == (self.conversation_id is None):
            raise ValueError("give exactly one of completion_id and conversation_id")
        return self


class TokenOut(BaseModel):
    token: Annotated[str, Field(description="Shown this once.", examples=["hwt_b0x…"])]
    expires_at: Annotated[datetime, Field(description="Not later than the key that made it.")]
    scopes: list[Scope]
    completion_id: UUID | None
    conversation_id: UUID | None
