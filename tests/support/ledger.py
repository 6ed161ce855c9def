"""Rows of the ledger, and what they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from psycopg.rows import class_row

from app.domain.ids import uuid7
from tests.support.postgres import Postgres

_COLUMNS: Final = (
    "completion_id, tenant, key_id, conversation_id, model, created_at, reserved_input, reserved_output, reserved,"
    " settled_at, status, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,"
    " cache_write_1h_tokens, web_searches, cost, estimated"
)
COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_searches",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A settled one, unless it is changed."""

    completion_id: UUID
    tenant: str = "default"
    key_id: UUID | None = None
    conversation_id: UUID | None = None
    model: str = "claude-sim"
    created_at: datetime = datetime(2026, 11, 1, 12, tzinfo=UTC)
    reserved_input: int = 100
    reserved_output: int = 1_000
    reserved: Decimal | None = Decimal("0.05")
    settled_at: datetime | None = datetime(2026, 11, 1, 12, 1, tzinfo=UTC)
    status: str | None = "completed"
    input_tokens: int | None = 10
    output_tokens: int | None = 20
    cache_read_tokens: int | None = 1
    cache_write_5m_tokens: int | None = 2
    cache_write_1h_tokens: int | None = 3
    web_searches: int | None = 0
    cost: Decimal | None = Decimal("0.01")
    estimated: bool | None = False

    @property
    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}


def row(**fields: Any) -> Row:
    return Row(completion_id=uuid7(), **fields)


def opened(**fields: Any) -> Row:
    """One that is not settled."""
    unknown: dict[str, Any] = dict.fromkeys((*COUNTS, "settled_at", "status", "cost", "estimated"))
    return replace(row(), **unknown | fields)


def insert(database_url: str, rows: Sequence[Row]) -> None:
    names = _COLUMNS.split(", ")
    values = ", ".join(f"%({name.strip()})s" for name in names)
    with Postgres.connect(database_url) as conn:
        for each in rows:
            conn.execute(
                f"INSERT INTO ledger ({_COLUMNS}, asked, second) VALUES ({values}, '{{}}', 0)",
                {name.strip(): getattr(each, name.strip()) for name in names},
            )


def select(database_url: str) -> list[Row]:
    """The whole ledger, in the order in which its rows were opened."""
    with Postgres.connect(database_url) as conn, conn.cursor(row_factory=class_row(Row)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY created_at").fetchall()
