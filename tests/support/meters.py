"""Limits as rows, for tests that are about what limits do."""

from typing import Any, LiteralString

from tests.support.postgres import Postgres

_SET: LiteralString = (
    "UPDATE meters SET requests_per_minute = %(requests_per_minute)s, tokens_per_minute = %(tokens_per_minute)s,"
    " open_streams = %(open_streams)s, monthly_budget = %(monthly_budget)s, total_budget = %(total_budget)s,"
    " allow_unpriced = %(allow_unpriced)s"
    " WHERE tenant = %(tenant)s AND (key_id IS NULL) = %(of_tenant)s RETURNING tenant"
)
_NONE: dict[str, Any] = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "open_streams": None,
    "monthly_budget": None,
    "total_budget": None,
    "allow_unpriced": False,
}


def limit(database_url: str, tenant: str, *, of_tenant: bool = False, **limits: Any) -> None:
    """The limits of all keys of a tenant, or of the tenant itself; what is not named is not limited."""
    with Postgres.connect(database_url) as conn:
        changed = conn.execute(_SET, _NONE | limits | {"tenant": tenant, "of_tenant": of_tenant}).fetchall()
    assert changed, "there is no such meter"
