"""What the endpoints for keys and browser tokens take and answer."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.domain.principal import Scope, Tenant

_FAR_AWAY: Final = timedelta(days=36_525)


def _in_the_future(moment: datetime) -> datetime:
    now = datetime.now(UTC)
    if not now < moment < now + _FAR_AWAY:
        raise ValueError("must be in the future, and within a hundred years")
    return moment


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be an amount of money")
    return value


def _without_defaults(schema: dict[str, Any]) -> None:
    """What is left out of a change has no default: it stays."""
    for field in schema["properties"].values():
        field.pop("default", None)


# Postgres has no NUL in text.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
TenantName = Annotated[Tenant, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:*-]{0,99}$")]
Expiry = Annotated[AwareDatetime, AfterValidator(_in_the_future)]
# As many digits as a JSON number holds exactly.
Money = Annotated[Decimal, BeforeValidator(_no_bool), Field(ge=0, max_digits=15, decimal_places=6)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]


class Limits(BaseModel):
    """What is null is not limited. Money is in US dollars, a month is one of UTC."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"requests_per_minute": 60, "monthly_budget": "25.00"}]}
    )

    requests_per_minute: Count | None = None
    tokens_per_minute: Annotated[int, Field(ge=0, le=10**15, strict=True)] | None = None
    open_streams: Count | None = None
    monthly_budget: Money | None = None
    total_budget: Money | None = None
    allow_unpriced: Annotated[
        bool, Field(strict=True, description="Under a budget, allow models without a known price; they count nothing.")
    ] = False


class LimitsOut(Limits):
    """What is null is not limited. Money is in US dollars, in decimal strings; a month is one of UTC."""


class Spent(BaseModel):
    """In US dollars, by completions that have ended."""

    this_month: str
    in_all: str


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, description="What the key may do.")]
    tenant: Annotated[
        TenantName | None, Field(description="Who owns what the key makes; left out, the tenant of the key that asks.")
    ] = None
    allowed: Annotated[
        list[FieldName],
        Field(max_length=100, description="Request fields that change the price or reach further, and are allowed."),
    ] = []
    limits: Limits = Limits()
    expires_at: Annotated[Expiry | None, Field(description="RFC 3339 with an offset; null for never.")] = None


class KeyChange(BaseModel):
    """What is left out stays as it is, of the limits too; a limit of null is none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=_without_defaults,
    )

    name: Name = ""
    scopes: Annotated[list[Scope], Field(min_length=1)] = []
    allowed: Annotated[list[FieldName], Field(max_length=100)] = []
    limits: Limits = Limits()
    expires_at: Expiry | None = None


class Rotation(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    overlap_seconds: Annotated[
        int, Field(ge=0, le=604_800, strict=True, description="The secret that it has had is good for so long.")
    ]


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
    last_used_at: Annotated[datetime | None, Field(description="To within two minutes; its tokens' uses count.")]
    previous_secret_until: Annotated[
        datetime | None, Field(description="Until when the secret before this one is still good.")
    ]
    limits: LimitsOut
    spent: Spent


class NewKeyOut(KeyOut):
    secret: Annotated[str, Field(description="Shown this once.", examples=["hw_zY3…"])]


class KeyPage(BaseModel):
    data: list[KeyOut]
    next_cursor: UUID | None


class NewToken(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": [one], "properties": {one: {"type": "string"}, other: {"type": "null"}}}
                for one, other in permutations(("completion_id", "conversation_id"))
            ]
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
    id: Annotated[UUID, Field(description="An admin can revoke it by this, as a key.")]
    token: Annotated[str, Field(description="Shown this once.", examples=["hwt_b0x…"])]
    expires_at: Annotated[datetime, Field(description="Not later than the key that made it.")]
    scopes: list[Scope]
    completion_id: UUID | None
    conversation_id: UUID | None


class TenantLimits(BaseModel):
    tenant: str
    limits: LimitsOut
    spent: Annotated[Spent, Field(description="By all of its keys.")]


class AuditEntry(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    at: datetime
    tenant: str
    actor_id: Annotated[UUID | None, Field(description="The key that made the change; null: the configured admin key.")]
    action: Annotated[
        str,
        Field(
            examples=["key.created", "key.changed", "key.rotated", "key.revoked", "limits.changed", "batch.approved"]
        ),
    ]
    key_id: UUID | None
    before: Annotated[dict[str, Any], Field(description="What changed, as it was.")]
    after: dict[str, Any]


class AuditPage(BaseModel):
    data: list[AuditEntry]
    next_cursor: UUID | None
