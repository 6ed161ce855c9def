"""What `GET /v1/usage` takes and answers."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self
from uuid import UUID

import msgspec
from pydantic import BaseModel, BeforeValidator, Field

from app.access.schemas import Name, TenantName
from app.domain.errors import InvalidRequest


class Group(StrEnum):
    DAY = "day"
    MODEL = "model"
    KEY = "key"
    CONVERSATION = "conversation"


# The columns that say which group a row is of.
COLUMNS: Final = {
    Group.DAY: "day",
    Group.MODEL: "model",
    Group.KEY: "key_id",
    Group.CONVERSATION: "conversation_id",
}
_NAMES: Final = "|".join(Group)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?", re.ASCII)


def _moment(value: str) -> datetime:
    """A date is the beginning of its day."""
    if not _MOMENT.fullmatch(value.upper()):
        raise ValueError("must be a date, or a time in RFC 3339 with its offset")
    moment = datetime.fromisoformat(value.upper())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_moment)]


class UsageQuery(BaseModel):
    group_by: Annotated[
        str,
        Field(
            pattern=rf"^(({_NAMES})(,({_NAMES}))*)?$",
            description="`day` (of UTC), `model`, `key`, `conversation`, or several with commas between them.",
            examples=["day,model"],
        ),
    ] = ""
    since: Annotated[
        Moment | None, Field(alias="from", description="A date, which begins in UTC, or a time in RFC 3339.")
    ] = None
    until: Annotated[Moment | None, Field(alias="to", description="The first moment that is not counted.")] = None
    tenant: Annotated[TenantName | None, Field(description="For the configured admin key, which else sees all.")] = None
    key_id: UUID | None = None
    model: Name | None = None
    conversation_id: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=10_000, description="Groups at the most.")] = 1_000
    cursor: Annotated[str | None, Field(description="`next_cursor` of the page before.")] = None
    format: Annotated[Literal["json", "csv"] | None, Field(description="Left out, as `Accept` says.")] = None

    @property
    def groups(self) -> list[Group]:
        """In the order that was asked for, each once."""
        return [Group(name) for name in dict.fromkeys(self.group_by.split(",")) if name]


class UsageRow(BaseModel):
    """The sums of a group. Of the first four, those are there that were grouped by."""

    day: date | None = None
    model: str | None = None
    key_id: UUID | None = None
    conversation_id: UUID | None = None
    completions: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    web_searches: int
    cost: Annotated[str | None, Field(description="US dollars, exact; null where no price is known.")]
    unpriced: Annotated[int, Field(description="Completions whose price is not known.")]
    estimated: Annotated[int, Field(description="Completions whose final counts never came.")]
    open: Annotated[int, Field(description="Completions that have not been settled yet.")]
    reserved_input_tokens: Annotated[int, Field(description="What the open ones may come to, here and below.")]
    reserved_output_tokens: int
    reserved: str | None


class UsagePage(BaseModel):
    data: list[UsageRow]
    next_cursor: str | None


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last group of a page."""

    day: date | None = None
    # Postgres has no NUL in text.
    model: Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")] | None = None
    key_id: UUID | None = None
    conversation_id: UUID | None = None

    @classmethod
    def read(cls, value: str, groups: list[Group]) -> Self:
        """
        Raises:
            InvalidRequest: it is none of a list that was grouped like this.
        """
        try:
            cursor = msgspec.json.decode(urlsafe_b64decode(value), type=cls)
        except (ValueError, msgspec.MsgspecError):
            raise _invalid() from None
        if cursor.columns() != {COLUMNS[group] for group in groups}:
            raise _invalid()
        return cursor

    def columns(self) -> set[str]:
        return {name for name, value in msgspec.structs.asdict(self).items() if value is not None}

    def written(self) -> str:
        return urlsafe_b64encode(msgspec.json.encode(self)).decode()


def _invalid() -> InvalidRequest:
    return InvalidRequest("The cursor is not one that this API gave out.", code="invalid_cursor", param="cursor")
