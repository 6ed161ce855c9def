"""Limits, budgets, idempotency keys, the ledger and the audit; messages that an answer replaces."""

from app.db.migrations.sql import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_limits_and_ledger.sql")
