"""Rows that only a generation would make."""

from typing import Literal
from uuid import UUID

from app.domain.ids import uuid7
from tests.support.postgres import Postgres

Owner = Literal["living", "dead"]


def insert_completion(
    database_url: str,
    *,
    status: str = "streaming",
    conversation: str | UUID | None = None,
    tenant: str = "default",
    owner: Owner = "living",
) -> UUID:
    """A completion of an instance that lives for an hour, or was declared dead."""
    id, instance = uuid7(), uuid7()
    with Postgres.connect(database_url) as conn:
        conn.execute(
            "INSERT INTO instances (id, home, lease_until, dead_at)"
            " VALUES (%s, 'local', clock_timestamp() + interval '1 h', CASE WHEN %s THEN clock_timestamp() END)",
            (instance, owner == "dead"),
        )
        conn.execute(
            "INSERT INTO completions (id, tenant, conversation_id, status, model, store, on_disconnect, instance_id)"
            " VALUES (%s, %s, %s, %s, 'claude-sim', true, 'continue', %s)",
            (id, tenant, conversation, status, instance),
        )
    return id
