"""The ledger, summed up."""

from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from app.access.usage_schemas import COLUMNS, Cursor, Group, UsageQuery

# Stands for no key and no conversation, so that groups can be compared: a comparison with NULL is never true.
NONE: Final = UUID(int=0)

_GROUPS: Final[dict[Group, LiteralString]] = {
    Group.DAY: "(l.created_at AT TIME ZONE 'UTC')::date",
    Group.MODEL: "l.model",
    Group.KEY: "coalesce(l.key_id, %(none)s)",
    Group.CONVERSATION: "coalesce(l.conversation_id, %(none)s)",
}
_SUMS: LiteralString = """
    count(*) AS completions,
    coalesce(sum(l.input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(l.output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(l.cache_read_tokens), 0)::bigint AS cache_read_tokens,
    coalesce(sum(l.cache_write_5m_tokens), 0)::bigint AS cache_write_5m_tokens,
    coalesce(sum(l.cache_write_1h_tokens), 0)::bigint AS cache_write_1h_tokens,
    coalesce(sum(l.web_searches), 0) AS web_searches,
    trim_scale(sum(l.cost))::text AS cost,
    count(*) FILTER (WHERE CASE WHEN l.settled_at IS NULL THEN l.reserved ELSE l.cost END IS NULL) AS unpriced,
    count(*) FILTER (WHERE l.estimated) AS estimated,
    count(*) FILTER (WHERE l.settled_at IS NULL) AS open,
    coalesce(sum(l.reserved_input) FILTER (WHERE l.settled_at IS NULL), 0)::bigint AS reserved_input_tokens,
    coalesce(sum(l.reserved_output) FILTER (WHERE l.settled_at IS NULL), 0)::bigint AS reserved_output_tokens,
    trim_scale(sum(l.reserved) FILTER (WHERE l.settled_at IS NULL))::text AS reserved
    FROM ledger l
"""
_WHERE: LiteralString = """
    WHERE (%(tenant)s::text IS NULL OR l.tenant = %(tenant)s)
      AND (%(owner)s::uuid IS NULL OR l.key_id = %(owner)s)
      AND (%(since)s::timestamptz IS NULL OR l.created_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR l.created_at < %(until)s)
      AND (%(key_id)s::uuid IS NULL OR l.key_id = %(key_id)s)
      AND (%(model)s::text IS NULL OR l.model = %(model)s)
      AND (%(conversation_id)s::uuid IS NULL OR l.conversation_id = %(conversation_id)s)
"""


async def summed_up(
    conn: AsyncConnection[Any],
    asked: UsageQuery,
    *,
    tenant: str | None,
    owner: UUID | None,
    after: Cursor | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to `limit` groups behind `after`, in order; without groups, one row.

    `tenant` and `owner`, a key, are whose rows the caller may see; None for all.
    """
    seen = {"tenant": tenant, "owner": owner, "limit": limit}
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement(asked.groups, behind=after is not None), parameters(asked, after) | seen)
        return await cursor.fetchall()


def parameters(asked: UsageQuery, after: Cursor | None) -> dict[str, object]:
    """Those of `statement` that the caller has chosen."""
    chosen = asked.model_dump(include={"since", "until", "key_id", "model", "conversation_id"})
    last = msgspec.structs.asdict(after or Cursor())
    return {**chosen, **{f"after_{name}": value for name, value in last.items()}, "none": NONE}


def statement(groups: list[Group], *, behind: bool) -> LiteralString:
    if not groups:
        return "SELECT " + _SUMS + _WHERE
    keys: LiteralString = ", ".join([_GROUPS[group] for group in groups])
    named: LiteralString = ", ".join([_GROUPS[group] + " AS " + COLUMNS[group] for group in groups])
    last: LiteralString = ", ".join(["%(after_" + COLUMNS[group] + ")s" for group in groups])
    where: LiteralString = _WHERE + (" AND (" + keys + ") > (" + last + ")" if behind else "")
    return "SELECT " + named + ", " + _SUMS + where + " GROUP BY " + keys + " ORDER BY " + keys + " LIMIT %(limit)s"
